"""Stage `build`: the converted graphs in, an engine file for every backend and precision out.

baseline.onnxruntime.fp32.onnx      the trained, unpruned model, to compare the engines with
<backend>.<precision><suffix>       the engines that can be built here
engines.json                        every engine of the settings, and why some have no file
layers.json                         the layers of engines whose builders report them
<engine file>.dot                   the same drawn for Graphviz, of TensorRT and TensorRT-RTX
choice.json                         the engine and the threads to use, by batch size
samples.npz, signature.json, test_images.npy, test_labels.npy
                                    copies of those of the convert stage

Each engine that can run here is run at once, on the samples of the convert stage, and the
fastest that is accurate enough is chosen (measurement/choice.py). TensorFlow is not needed: this
stage runs on the machine that the engines are for.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np

from stages import progress
from stages.artifacts import left_out
from stages.artifacts.signature import Signature, rows
from stages.datasets import carried
from stages.engines import layers, modules, records
from stages.engines.base import BuildReport, BuildRequest, Engine, Logits, does_not_load
from stages.engines.onnxruntime import integer_kernels
from stages.engines.records import BASELINE, BASELINE_ENGINE
from stages.engines.registry import ENGINES, QUANTIZED, EngineName, ExtraPrecision, Precision
from stages.errors import EngineError
from stages.measurement import choice, clock, divergence, int8_regressions, parity
from stages.measurement.accuracy import batch_of, logits
from stages.measurement.divergence import Search
from stages.measurement.samples import SAMPLES_FILE
from stages.numerics import latency
from stages.results.base import LatencyRow, ModelFacts
from stages.results.conversion import ParityCheck
from stages.results.engines import (
    BuildDetails,
    BuildResult,
    Divergence,
    EngineRecord,
    EngineResult,
    Int8Regression,
    IntegerKernels,
)
from stages.settings import BuildStage
from stages.tasks import base as tasks

LAYERS_FILE = "layers.json"
EVALUATION_BATCH = 32

WARMUP_SECONDS = 0.05
SECONDS = 0.2
"""Long enough to rank the engines; the benchmark stage measures at length."""

Reports = dict[EngineName, BuildReport]


def run(settings: BuildStage, inputs: Mapping[str, Path], out: Path) -> BuildResult:
    """Build the engines, run those that run here, and write the files above into `out`.

    An engine that cannot be built does not stop the others. Raises EngineError if none can.
    The model of the result is the engine chosen for the smallest batch. It has no accuracy: that of
    the engines here is on the samples, and would stand beside those of the whole test split.
    """
    source = inputs["convert"]
    signature = Signature.read(source)
    signature.write(out)
    shutil.copyfile(source / SAMPLES_FILE, out / SAMPLES_FILE)
    carried.copy(source, out)
    build_baseline(source, out, signature)
    tried, reports = build_all(settings, source, out, signature)
    # From here on in this order, also in engines.json: it decides which library
    # runs without AMX (decision 14).
    tried = records.opening_order(tried, out)
    built = [record for record in tried if record.file]
    if not built:
        reasons = "; ".join(f"{record.name}: {record.reason}" for record in tried)
        raise EngineError(f"no engine can be built here ({reasons})", "run: pipeline doctor")
    results = try_out(tried, out, signature, settings)
    records.write(results, out)
    checks = tuple(result.parity for result in results if result.parity)
    samples = np.load(out / SAMPLES_FILE)
    divergences = locate(results, settings, source, signature, samples["images"])
    images, labels = samples["validation_images"], samples["validation_labels"]
    chosen = choice.choose(results, out, images, labels, settings.build, settings.gpu)
    best = records.chosen(results, chosen.chosen)
    images = batch_of(samples["images"], signature, 1)
    return BuildResult(
        model=ModelFacts(file=best.file if best else built[0].file),
        latency=best.latency if best else (),
        details=BuildDetails(
            parity_checks=checks,
            first_mismatch=parity.first_mismatch(checks),
            choice=chosen,
            onnxruntime_int8_kernels=kernels(out),
            **describe_layers(reports, out),
            divergences=divergences,
            int8_slower_than_fp16=explain_slower(results, reports, out, signature, images),
        ),
        engines=tuple(results),
    )


def build_baseline(source: Path, out: Path, signature: Signature) -> None:
    """Build the trained, unpruned float32 model. Raises EngineError."""
    progress.report("build the baseline")
    records.require(modules.load(BASELINE_ENGINE.backend).build_blocker())
    request = BuildRequest(signature, "fp32")
    build_file(BASELINE_ENGINE, source / "baseline.fp32.onnx", out / BASELINE, request)


def build_all(
    settings: BuildStage, source: Path, out: Path, signature: Signature
) -> tuple[list[EngineRecord], Reports]:
    """Build every backend in every precision that it has; the builders' reports by engine."""
    requests = {
        EngineName(backend, precision): _request(settings, signature, precision)
        for backend in settings.build.backends
        for precision in settings.build.precisions
        if precision in ENGINES[backend].precisions
    }
    tried, reports = [], Reports()
    for done, (name, request) in enumerate(requests.items()):
        progress.report(f"build {name}", done, len(requests))
        record = EngineRecord(backend=name.backend, precision=name.precision)
        file = out / f"{name}{ENGINES[name.backend].suffix}"
        try:
            reports[name] = build_one(name, source, file, request)
            tried.append(record.built(file))
        except EngineError as error:
            file.unlink(missing_ok=True)
            tried.append(record.stopped(error))
    return tried, reports


def _request(settings: BuildStage, signature: Signature, precision: Precision) -> BuildRequest:
    return BuildRequest(
        signature,
        precision,
        settings.build.max_batch_size,
        settings.build.batch_sizes,
        settings.build.workspace_mib,
        settings.tensorrt,
        settings.build.max_seconds_per_engine,
    )


def build_one(engine: EngineName, source: Path, file: Path, request: BuildRequest) -> BuildReport:
    """Build the engine `file` from its graph in the folder `source`. Raises EngineError."""
    records.require(modules.load(engine.backend).build_blocker())
    graph = source / modules.source_file(engine)
    if not graph.is_file():
        if reason := left_out.read(source).get(graph.name):
            raise EngineError(reason, "replace the layer that uses this operation")
        extra = f"convert.extra_precisions={engine.precision}"
        is_extra = engine.precision in get_args(ExtraPrecision)
        wanted = f"--set {extra}" if is_extra else "--force"
        raise EngineError(f"there is no {graph.name}", f"run: pipeline run convert {wanted}")
    return build_file(engine, graph, file, request)


def build_file(engine: EngineName, graph: Path, file: Path, request: BuildRequest) -> BuildReport:
    """Build the engine `file` from `graph`. Raises EngineError, also where its runtime is broken.

    What runs on the CPU is imported here for the first time: trying that in a child before would
    cost every run half a second.
    """
    try:
        return modules.load(engine.backend).build(graph, file, request) or BuildReport()
    except ImportError as error:
        broken = does_not_load(error, *ENGINES[engine.backend].packages)
        raise EngineError(broken.reason, broken.fix) from error


def try_out(
    tried: Sequence[EngineRecord], folder: Path, signature: Signature, settings: BuildStage
) -> list[EngineResult]:
    """Accuracy on the samples, and latency at batch 1 taken in turns, where an engine runs here."""
    samples = np.load(folder / SAMPLES_FILE)
    images, labels = samples["images"], samples["labels"]
    batch_size = min(EVALUATION_BATCH, settings.build.max_batch_size)
    running: dict[EngineName, Engine] = {}
    judged: dict[EngineName, dict[str, Any]] = {}
    states = {record.name: record for record in tried}
    with ExitStack() as opened:
        for name, record in states.items():
            if record.file is None:
                continue
            progress.report(f"run {name}")
            try:
                runner = records.runner(record, folder, signature, 1, settings.gpu)
                engine = opened.enter_context(runner)
                found = logits(engine, images, batch_size)
                running[name], states[name] = engine, record.ran()
                judged[name] = {
                    "accuracy": tasks.asked(signature).quality(found, labels, signature),
                    "parity": check_parity(name, samples, found, signature, settings.tensorrt.tf32),
                }
            except EngineError as error:
                states[name] = record.stopped(error)
        image = batch_of(images, signature, 1)
        calls = {name: partial(engine.infer, image) for name, engine in running.items()}
        warmup, seconds = (
            min(each, settings.build.max_seconds_per_engine) for each in (WARMUP_SECONDS, SECONDS)
        )
        times = clock.measure(calls, warmup, seconds)
    return [
        EngineResult(
            **dict(record),
            **judged[name],
            latency=(_row(name, times[name], rows(image)),),
        )
        if name in judged
        else EngineResult(**dict(record))
        for name, record in states.items()
    ]


def check_parity(
    name: EngineName,
    samples: Mapping[str, Any],
    found: Logits,
    signature: Signature,
    tf32: bool = False,
) -> ParityCheck | None:
    """The engine against Keras; None if the samples lack what to compare with."""
    reference = parity.reference(name)
    explained = parity.explained(reference)
    if reference not in samples or (name.precision in QUANTIZED and explained not in samples):
        return None
    difference = samples.get(explained, 0.0)
    return parity.engine_check(name, samples[reference], found, difference, signature, tf32)


def _row(name: EngineName, taken: clock.Samples, batch_size: int) -> LatencyRow:
    return latency.row(
        taken, batch_size=batch_size, runtime=name.backend, precision=name.precision, threads=1
    )


def kernels(folder: Path) -> IntegerKernels | None:
    """How many kernels of ONNX Runtime's INT8 engine are integer, if it was built."""
    name = EngineName("onnxruntime", "int8")
    file = folder / f"{name}{ENGINES[name.backend].suffix}"
    return integer_kernels(file) if file.is_file() else None


def describe_layers(reports: Reports, out: Path) -> dict[str, Any]:
    """The fields of BuildDetails that come from the builders' reports; writes `layers.json`."""
    described = {str(name): report.layers for name, report in reports.items() if report.layers}
    content = {
        name: [layer.model_dump(mode="json") for layer in each] for name, each in described.items()
    }
    (out / LAYERS_FILE).write_text(json.dumps(content, indent=2) + "\n")
    mismatches = {
        name: found for name, each in described.items() if (found := layers.mismatches(each))
    }
    for name, found in mismatches.items():
        nodes = ", ".join(each.node for each in found)
        progress.report(f"{name}: not in the precision that was requested: {nodes}")
    remarks = {str(name): report.remarks for name, report in reports.items() if report.remarks}
    counts = {str(name): report.kernels for name, report in reports.items() if report.kernels}
    return {
        "layers": described,
        "kernels": counts,
        "precision_mismatches": mismatches,
        "remarks": remarks,
    }


def locate(
    results: Sequence[EngineResult],
    settings: BuildStage,
    source: Path,
    signature: Signature,
    images: Any,
) -> dict[str, Divergence]:
    """Where GPU engines whose parity fails go wrong first, also as progress."""
    found, largest = {}, settings.build.max_batch_size
    off = {each.name: each.parity for each in results if each.parity and not each.parity.passed}
    for name in off if settings.tensorrt.locate_divergence else ():
        if ENGINES[name.backend].device != "gpu" or name.precision == "bf16":
            continue
        progress.report(f"{name}: look for the first tensor that is off")
        request = _request(settings, signature, cast(Precision, name.precision))
        few = signature.feed(images[: signature.batch_size or min(divergence.IMAGES, largest)])
        graph = source / modules.source_file(name)
        try:
            search = Search(name.backend, graph, request, few, off[name].output)
            first = divergence.search_in_child(search)
        except Exception as error:  # a diagnosis: whatever happens in it, the engines stay
            progress.report(f"{name}: what is off cannot be told: {error}")
            continue
        if first is None:
            progress.report(f"{name}: no part of its graph is off by itself")
        else:
            found[str(name)] = first
            progress.report(f"{name}: {first.in_words}")
    return found


def explain_slower(
    results: Sequence[EngineResult],
    reports: Reports,
    out: Path,
    signature: Signature,
    images: Any,
) -> tuple[Int8Regression, ...]:
    """Where INT8 engines lose time against FP16 ones of the same runtime, also as progress."""
    found = int8_regressions.explain(results, reports, out, signature, images)
    for each in found:
        progress.report(int8_regressions.describe(each))
    return found
