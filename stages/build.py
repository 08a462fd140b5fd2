"""Stage `build`: the converted graphs in, an engine file for every backend and precision out.

baseline.onnxruntime.fp32.onnx      the trained, unpruned model: the yardstick of the benchmark
<backend>.<precision><suffix>       the engines that can be built here
engines.json                        every engine that was wanted, and why some have no file
layers.json                         the layers of engines whose builders tell them
choice.json                         the engine and the threads to use, by batch size
samples.npz, signature.json         copied on

Each engine that can run here is run at once, on the samples of the convert stage, and the
fastest that is accurate enough is chosen (engines/choice.py). TensorFlow is not needed: this
stage runs on the machine that the engines are for.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages import progress
from stages.artifacts.signature import Signature
from stages.engines import layers, records, registry
from stages.engines.base import Account, Batch, BuildRequest, Engine
from stages.engines.onnxruntime import integer_kernels
from stages.engines.records import BASELINE, Entry
from stages.engines.registry import ENGINES
from stages.errors import EngineError
from stages.measurement import choice, clock, int8_regressions, parity
from stages.measurement.accuracy import batch_of, logits
from stages.numerics import latency
from stages.numerics.classification import metrics
from stages.settings import BuildStage

SAMPLES_FILE = "samples.npz"
LAYERS_FILE = "layers.json"
EVALUATION_BATCH = 32

WARMUP_SECONDS = 0.05
SECONDS = 0.2
"""Long enough to rank the engines; the benchmark stage measures at length."""


def run(settings: BuildStage, inputs: Mapping[str, Path], out: Path) -> dict[str, Any]:
    """Build the engines, run those that run here, and write the files above into `out`.

    An engine that cannot be built does not stop the others. Raises EngineError if none can.
    The model that the measurements name is the engine chosen for the smallest batch.
    """
    source = inputs["convert"]
    signature = Signature.read(source)
    signature.write(out)
    shutil.copyfile(source / SAMPLES_FILE, out / SAMPLES_FILE)
    build_baseline(source, out, signature)
    accounts: dict[str, Account] = {}
    wanted = build_all(settings, source, out, signature, accounts)
    entries = records.opening_order(wanted, out)
    built = [entry for entry in entries if entry.file]
    if not built:
        reasons = "; ".join(f"{entry.name}: {entry.reason}" for entry in entries)
        raise EngineError(f"no engine can be built here ({reasons})", "run: pipeline doctor")
    entries, table = try_out(entries, out, signature, settings.build.max_batch_size)
    records.write(entries, out)
    rungs = [row["parity"] for row in table if row["parity"]]
    auto = choice.choose(entries, out, *validation(out), settings.build)
    return {
        **records.summary(records.chosen(table, auto["chosen"]), built[0].file),
        "details": {
            "ladder": rungs,
            "first_break": parity.first_break(rungs),
            "auto": auto,
            **kernels(out),
            **describe_layers(accounts, out),
            "int8_slower_than_fp16": explain_slower(table, accounts, out, signature),
        },
        "engines": table,
    }


def validation(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images uint8 (N, H, W, C) and labels int64 (N,) by which the engine may be chosen."""
    samples = np.load(folder / SAMPLES_FILE)
    return samples["validation_images"], samples["validation_labels"]


def kernels(folder: Path) -> dict[str, Any]:
    """How many kernels of ONNX Runtime's INT8 engine are integer, if it was built."""
    file = folder / f"onnxruntime.int8{ENGINES['onnxruntime'].suffix}"
    return {"onnxruntime_int8_kernels": integer_kernels(file)} if file.is_file() else {}


def describe_layers(accounts: Mapping[str, Account], out: Path) -> dict[str, Any]:
    """Write `layers.json`: what the layers of every engine compute in, where its builder tells it.

    Returns that, the nodes that run in more bits than they were asked to, and remarks.
    """
    told = {name: account.layers for name, account in accounts.items() if account.layers}
    found = layers.summary(told)
    (out / LAYERS_FILE).write_text(json.dumps(found["layers"], indent=2) + "\n")
    for name, wider in found["precision_mismatches"].items():
        nodes = ", ".join(each["node"] for each in wider)
        progress.report(f"{name}: not in the precision that was asked for: {nodes}")
    remarks = {name: list(account.remarks) for name, account in accounts.items() if account.remarks}
    return {**found, "remarks": remarks}


def explain_slower(
    table: Sequence[Mapping[str, Any]],
    accounts: Mapping[str, Account],
    out: Path,
    signature: Signature,
) -> list[dict[str, Any]]:
    """Where INT8 engines lose time against FP16 ones of the same runtime, said plainly."""
    images = batch_of(np.load(out / SAMPLES_FILE)["images"], signature, 1)
    found = int8_regressions.explain(table, accounts, out, signature, images)
    for each in found:
        progress.report(int8_regressions.sentence(each))
    return found


def build_baseline(source: Path, out: Path, signature: Signature) -> None:
    """Build the unpruned float32 model for ONNX Runtime. Raises EngineError."""
    progress.report("build the baseline")
    request = BuildRequest(signature, "fp32")
    registry.load("onnxruntime").build(source / "baseline.fp32.onnx", out / BASELINE, request)


def build_all(
    settings: BuildStage,
    source: Path,
    out: Path,
    signature: Signature,
    accounts: dict[str, Account],
) -> list[Entry]:
    """Build every backend in every precision that it has; fills in what the builders tell."""
    wanted = [
        Entry(backend, precision)
        for backend in settings.build.backends
        for precision in settings.build.precisions
        if precision in ENGINES[backend].precisions
    ]
    entries = []
    for done, entry in enumerate(wanted):
        progress.report(f"build {entry.name}", done, len(wanted))
        request = BuildRequest(
            signature,
            entry.precision,
            settings.build.max_batch_size,
            settings.build.opt_batch_size,
            settings.build.workspace_mib,
            settings.tensorrt,
        )
        entries.append(build_one(entry, source, out, request, accounts))
    return entries


def build_one(
    entry: Entry, source: Path, out: Path, request: BuildRequest, accounts: dict[str, Account]
) -> Entry:
    """Write the engine's file into `out`, or note why there is none."""
    module = registry.load(entry.backend)
    graph = source / registry.source_file(entry.backend, entry.precision)
    file = out / f"{entry.name}{ENGINES[entry.backend].suffix}"
    try:
        records.require(module.build_blocker())
        if not graph.is_file():
            raise EngineError(f"there is no {graph.name}", "run: pipeline run convert --force")
        accounts[entry.name] = module.build(graph, file, request) or Account()
    except EngineError as error:
        file.unlink(missing_ok=True)
        return entry.stopped(error)
    return entry.built(file)


def try_out(
    entries: Sequence[Entry], folder: Path, signature: Signature, max_batch_size: int
) -> tuple[list[Entry], list[dict[str, Any]]]:
    """Accuracy on the samples, and latency at batch 1 taken in turns, where an engine runs here."""
    samples = np.load(folder / SAMPLES_FILE)
    images, labels = samples["images"], samples["labels"]
    batch_size = min(EVALUATION_BATCH, max_batch_size)
    running: dict[str, Engine] = {}
    outputs: dict[str, Batch] = {}
    tried = []
    with ExitStack() as opened:
        for entry in entries:
            if entry.file:
                progress.report(f"run {entry.name}")
                try:
                    engine = opened.enter_context(records.runner(entry, folder, signature, 1))
                    outputs[entry.name] = logits(engine, images, batch_size)
                    running[entry.name] = engine
                    entry = entry.ran()
                except EngineError as error:
                    entry = entry.stopped(error)
            tried.append(entry)
        image = batch_of(images, signature, 1)
        calls = {name: partial(engine.infer, image) for name, engine in running.items()}
        times = clock.measure(calls, WARMUP_SECONDS, SECONDS)
    rows = [_row(entry, times, len(image)) for entry in tried]
    for row, entry in zip(rows, tried, strict=True):
        if entry.name in outputs:
            row["accuracy"] = metrics(outputs[entry.name], labels).model_dump()
            row["parity"] = compare_with_keras(entry, samples, outputs[entry.name])
    return tried, rows


def compare_with_keras(
    entry: Entry, samples: Mapping[str, Any], found: Batch
) -> dict[str, Any] | None:
    """The engine's rung of the parity ladder; None if the samples lack what it stands on."""
    against = parity.reference(entry.backend, entry.precision)
    if against not in samples:
        return None
    return parity.rung(entry.name, against, samples[against], found)


def _row(entry: Entry, times: Mapping[str, clock.Samples], batch_size: int) -> dict[str, Any]:
    row = {**dataclasses.asdict(entry), "accuracy": None, "parity": None, "latency": []}
    if entry.name in times:
        row["latency"] = [
            latency.row(
                times[entry.name],
                batch_size=batch_size,
                runtime=entry.backend,
                precision=entry.precision,
                threads=1,
            ).model_dump(exclude_none=True)
        ]
    return row
