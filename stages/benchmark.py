"""Stage `benchmark`: how accurate and how fast the engines themselves are.

latency.npz     milliseconds of every call, float32, as `<engine>.b<batch>.t<threads>`
predictions.npz the class that each engine predicts for every test image, and the true "labels"
changed.npz     some images that the engine classifies differently: prediction_diff.py

Accuracy is that of each engine's own outputs on the whole test split. Latency is that of
`Engine.infer`: images in host memory in, logits in host memory out, the engines and
the baseline (the trained, unpruned float32 model in ONNX Runtime) timed in turns. TensorFlow
is not needed: this stage runs on the machine that the engines are for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages import datasets, progress
from stages.artifacts.signature import Signature
from stages.datasets import Split
from stages.engines import environment, records
from stages.engines.base import Engine
from stages.engines.records import BASELINE
from stages.engines.registry import ENGINES
from stages.errors import EngineError
from stages.measurement import choice, clock, machine_state, prediction_diff, throughput
from stages.measurement.accuracy import batch_of, logits
from stages.numerics import classification, latency
from stages.results.base import ModelFacts
from stages.results.engines import (
    BenchmarkDetails,
    BenchmarkResult,
    Chosen,
    EngineRecord,
    EngineResult,
    EngineTimings,
    MachineState,
    PredictionDiff,
)
from stages.results.training import Classification
from stages.settings import Benchmark, BenchmarkStage

LATENCY_FILE = "latency.npz"
PREDICTIONS_FILE = "predictions.npz"
PARTS_CALLS = 100
"""Calls whose copies and computation are timed apart, on a GPU."""
SATURATED_SHARE = 0.2
"""Of benchmark.max_seconds_per_engine, for each batch size: enough for calls that run warm."""

Calls = dict[str, NDArray[np.float32]]
"""Milliseconds of every call, by the names in `latency.npz`."""


@dataclass
class BenchmarkedEngine:
    """An engine under test, and what has been measured of it so far."""

    name: str
    record: EngineRecord
    timings: EngineTimings = field(default_factory=EngineTimings)
    classes: Classification | None = None
    predictions: NDArray[np.int64] | None = None

    @property
    def is_on_gpu(self) -> bool:
        return ENGINES[self.record.backend].device == "gpu"

    def runs_with(self, threads: int, settings: Benchmark) -> bool:
        """Whether it is to be run with that many threads; they mean nothing to a GPU."""
        is_distinct = not self.is_on_gpu or threads == settings.threads[0]
        return self.record.file is not None and is_distinct

    def add(self, **measured: Any) -> None:
        """Set fields of its timings."""
        self.timings = self.timings.model_copy(update=measured)

    def result(self) -> EngineResult:
        """The record with what was measured."""
        return EngineResult(**dict(self.record), **dict(self.timings))


def run(settings: BenchmarkStage, inputs: Mapping[str, Path], out: Path) -> BenchmarkResult:
    """Measure every engine that runs here; write the raw samples into `out`.

    An engine that cannot run does not stop the others. Raises DataError where the test split
    cannot be read, and EngineError where the baseline cannot run.
    The model of the result is the engine that the build stage chose.
    """
    source = inputs["build"]
    test = datasets.load_test(settings.data)
    baseline, engines = listed(source)
    chosen = choice.read(source)
    before, gpus = machine_state.snapshot(), {"before": machine_state.gpus()}
    calls: Calls = {}
    for threads in settings.benchmark.threads:
        taking = [each for each in engines if each.runs_with(threads, settings.benchmark)]
        calls |= compare([baseline, *taking], source, test, threads, settings.benchmark)
        # Right after the engines' last calls: asked in between, it would be one more load.
        gpus["during"] = machine_state.gpus()
    for threads, sizes in further(chosen, settings.benchmark).items():
        names = {chosen[size].engine for size in sizes}
        taking = [each for each in engines if each.name in names and each.timings.latency]
        only = settings.benchmark.model_copy(update={"batch_sizes": sizes})
        calls |= compare([baseline, *taking], source, test, threads, only)
    gpus["after"] = machine_state.gpus()
    np.savez(out / LATENCY_FILE, **calls)  # type: ignore[arg-type]
    keep_predictions([baseline, *engines], test.labels, out)
    results = tuple(each.result() for each in engines)
    best = records.chosen(results, chosen)
    return BenchmarkResult(
        model=ModelFacts(file=best.file if best else None),
        accuracy=best.accuracy if best else None,
        latency=best.latency if best else (),
        details=BenchmarkDetails(
            fastest=str(best.name) if best else None,
            baseline=baseline.timings,
            classification={
                "baseline" if each is baseline else each.name: each.classes
                for each in (baseline, *engines)
                if each.classes
            },
            changed=difference(baseline, engines, best, test, out),
            conditions=describe(before, gpus, settings.benchmark),
        ),
        engines=results,
    )


def listed(folder: Path) -> tuple[BenchmarkedEngine, list[BenchmarkedEngine]]:
    """The baseline and the engines of a build folder. Raises EngineError."""
    record = EngineRecord(backend="onnxruntime", precision="fp32", file=BASELINE)
    engines = [BenchmarkedEngine(str(each.name), each) for each in records.read(folder)]
    return BenchmarkedEngine(f"baseline.{record.name}", record), engines


def further(chosen: Mapping[int, Chosen], settings: Benchmark) -> dict[int, tuple[int, ...]]:
    """Thread counts that build chose and the settings lack, with their batch sizes."""
    found: dict[int, tuple[int, ...]] = {}
    for size in settings.batch_sizes:
        threads = chosen[size].threads if size in chosen else settings.threads[0]
        if threads not in settings.threads:
            found[threads] = (*found.get(threads, ()), size)
    return found


def compare(
    engines: Sequence[BenchmarkedEngine],
    folder: Path,
    test: Split,
    threads: int,
    settings: Benchmark,
) -> Calls:
    """Open all engines at once, take their accuracy, and time them in turns.

    The first engine must run; another that does not is noted and left out.
    """
    signature = Signature.read(folder)
    running: list[tuple[BenchmarkedEngine, Engine]] = []
    with ExitStack() as opened:
        for each in engines:
            progress.report(f"{each.name}, threads: {threads}")
            try:
                engine = records.runner(each.record, folder, signature, threads)
                opened.callback(engine.close)
                start(each, engine, test, max(settings.batch_sizes))
                running.append((each, engine))
            except EngineError as error:
                if each is engines[0]:
                    raise
                each.record = each.record.stopped(error)
        calls = time_all(running, test, threads, settings)
        for each, engine in running:
            saturate(each, engine, test, threads, settings)
        return calls


def keep_predictions(
    engines: Sequence[BenchmarkedEngine], labels: NDArray[np.int64], out: Path
) -> None:
    """Write the predictions of each engine, (N,), and the labels, in the smallest integer type.

    Two runs that were shown the same images are compared image by image.
    """
    arrays = {each.name: each.predictions for each in engines if each.predictions is not None}
    arrays["labels"] = labels
    smallest = np.min_scalar_type(max(int(each.max()) for each in arrays.values()))
    kept = {name: each.astype(smallest) for name, each in arrays.items()}
    np.savez_compressed(out / PREDICTIONS_FILE, **kept)  # type: ignore[arg-type]


def difference(
    baseline: BenchmarkedEngine,
    engines: Sequence[BenchmarkedEngine],
    best: EngineResult | None,
    test: Split,
    out: Path,
) -> PredictionDiff | None:
    """The predictions of the engine `best` against the baseline's; None where one has none."""
    after = next(
        (each.predictions for each in engines if best and each.name == str(best.name)), None
    )
    if best is None or after is None or baseline.predictions is None:
        return None
    return prediction_diff.compare(test, baseline.predictions, after, str(best.name), out)


def start(each: BenchmarkedEngine, engine: Engine, test: Split, batch_size: int) -> None:
    """Open the engine, run it for the first time, and take its accuracy. Raises EngineError.

    With a further number of threads only the opening is new: what is known stays.
    """
    _, load_ms = clock.once(engine.open)
    if each.timings.accuracy is not None:
        return
    batch = batch_of(test.images, engine.signature, 1)
    _, first_call_ms = clock.once(partial(engine.infer, batch))
    outputs = logits(engine, test.images, batch_size)
    accuracy = classification.metrics(outputs, test.labels)
    each.add(accuracy=accuracy, load_ms=load_ms, first_call_ms=first_call_ms)
    names = engine.signature.class_names
    each.classes = classification.describe(outputs, test.labels, names)
    each.predictions = outputs.argmax(axis=1)
    each.record = each.record.ran()


def time_all(
    running: Sequence[tuple[BenchmarkedEngine, Engine]],
    test: Split,
    threads: int,
    settings: Benchmark,
) -> Calls:
    """Time the engines in turns at every batch size; adds the rows to their timings."""
    calls = {}
    for batch_size in running[0][1].signature.batch_sizes(settings.batch_sizes):
        progress.report(f"batch {batch_size}, threads: {threads}")
        images = batch_of(test.images, running[0][1].signature, batch_size)
        windows = clock.until_stable(
            {each.name: partial(engine.infer, images) for each, engine in running},
            settings.warmup_seconds,
            settings.max_seconds_per_engine,
        )
        for each, engine in running:
            taken = np.concatenate(windows[each.name])
            row = latency.row(
                taken,
                window_p50_ms=[float(np.median(window)) for window in windows[each.name]],
                batch_size=batch_size,
                runtime=each.record.backend,
                precision=each.record.precision,
                threads=threads,
            )
            row = row.model_copy(update={"parts_ms": engine.time_parts(images, PARTS_CALLS)})
            each.add(latency=(*each.timings.latency, row))
            calls[f"{each.name}.b{batch_size}.t{threads}"] = taken.astype(np.float32)
    return calls


def saturate(
    each: BenchmarkedEngine, engine: Engine, test: Split, threads: int, settings: Benchmark
) -> None:
    """Add to the rows the throughput with the GPU, or all cores, kept busy, and the memory.

    The memory of CPU engines with the first number of threads only: further ones change little.
    """
    rows = [row for row in each.timings.latency if row.threads == threads]
    batches = [batch_of(test.images, engine.signature, row.batch_size) for row in rows]
    seconds = SATURATED_SHARE * settings.max_seconds_per_engine
    if each.is_on_gpu:
        progress.report(f"{each.name}, batch after batch")
        count = 1
        rates = [throughput.pipelined_images_per_second(engine, one, seconds) for one in batches]
    else:
        progress.report(f"{each.name}, all cores")
        count, rates = throughput.saturated_images_per_second(each.record, engine, batches, seconds)
    peaks: dict[int, float] = {}
    if not each.is_on_gpu and threads == settings.threads[0]:
        sizes = [row.batch_size for row in rows]
        peaks = throughput.peak_memory_mib(each.record, engine.file.parent, threads, sizes)
    others = tuple(row for row in each.timings.latency if row.threads != threads)
    filled = tuple(
        row.model_copy(
            update={
                "saturated_images_per_second": rate,
                "saturating_engines": count,
                "gpu_memory_mib": engine.gpu_memory_mib,
                "peak_memory_mib": peaks.get(row.batch_size),
            }
        )
        for row, rate in zip(rows, rates, strict=True)
    )
    each.add(latency=others + filled)


def describe(
    before: machine_state.Snapshot, gpus: dict[str, Any], settings: Benchmark
) -> MachineState:
    """What a reader must know beside the numbers."""
    machine, after = environment.describe(), machine_state.snapshot()
    return MachineState(
        cpu=machine["cpu"].get("model"),
        cpu_flags=machine["cpu"].get("flags"),
        packages=machine["packages"],
        load_average_before=before.load_average,
        load_average_after=after.load_average,
        cpu_steal_percent=machine_state.steal_percent(before, after),
        governor=machine_state.governor(),
        clock_overhead_ms=clock.overhead_ms(),
        warmup_seconds=settings.warmup_seconds,
        seconds=settings.max_seconds_per_engine,
        windows=(clock.MIN_WINDOWS, clock.MAX_WINDOWS),
        gpu=gpus if gpus["before"] else None,
    )
