"""The engines of one benchmark: opened together, those of a device timed in turns, then saturated
one by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages import progress
from stages.artifacts.signature import Signature
from stages.datasets.base import Split
from stages.engines import records
from stages.engines.base import Engine
from stages.engines.registry import ENGINES
from stages.errors import EngineError
from stages.measurement import clock, memory, throughput, turns
from stages.measurement.accuracy import answers, batch_of, logits
from stages.measurement.luck import is_above_luck, sampled
from stages.numerics import latency
from stages.results.engines import EngineRecord, EngineResult, EngineTimings
from stages.results.training import Classification
from stages.settings import Benchmark, BenchmarkStage
from stages.tasks import base as tasks
from stages.tasks import several
from stages.tasks.base import Answers, Outputs, Targets

PARTS_CALLS = 100
"""Calls whose copies and computation are timed apart, on a GPU."""
SATURATED_SHARE = 0.2
"""Of benchmark.max_seconds_per_engine, for each batch size: enough for calls that run warm."""

Pixels = NDArray[np.uint8]

Calls = dict[str, NDArray[np.float32]]
"""Milliseconds of every call, by the names in `latency.npz`."""


@dataclass(frozen=True, eq=False)
class OutputAnswers:
    """What an engine said in one output, and how well it knows the classes, if there are any."""

    answers: Answers
    classes: Classification | None = None


@dataclass
class BenchmarkedEngine:
    """An engine under test, and what has been measured of it so far."""

    name: str
    record: EngineRecord
    timings: EngineTimings = field(default_factory=EngineTimings)
    is_trained: bool = False
    """Whether it is the baseline: the trained, unpruned model."""
    answers: Answers | None = None
    by_output: Mapping[str, OutputAnswers] = field(default_factory=dict)
    """Those of each output that is judged, "" of the only one."""
    knows: bool | None = None

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


def measure_together(
    engines: Sequence[BenchmarkedEngine],
    folder: Path,
    test: Split,
    threads: int,
    settings: BenchmarkStage,
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
                own = signature.of_trained if each.is_trained else signature
                engine = records.runner(each.record, folder, own, threads, settings.gpu)
                # Before it is opened: an engine that fails half way must free its memory as well.
                opened.callback(engine.close)
                _start(each, engine, test, max(settings.benchmark.batch_sizes))
                running.append((each, engine))
            except EngineError as error:
                if each is engines[0]:
                    raise
                each.record = each.record.stopped(error)
        # Nothing is saturated before all are timed: that opens more engines and fills every core.
        calls = _time(running, test, threads, settings.benchmark)
        for each, engine in running:
            _saturate(each, engine, test, threads, settings.benchmark)
        return calls


def outputs_again(
    each: BenchmarkedEngine, images: Pixels, folder: Path, settings: BenchmarkStage
) -> Outputs:
    """What it returns for a few images uint8 (M, H, W, C): (M, ...). Raises EngineError."""
    threads, batch_size = settings.benchmark.threads[0], max(settings.benchmark.batch_sizes)
    signature = Signature.read(folder)
    with closing(records.runner(each.record, folder, signature, threads, settings.gpu)) as engine:
        engine.open()
        return logits(engine, images, batch_size)


def _start(each: BenchmarkedEngine, engine: Engine, test: Split, batch_size: int) -> None:
    """Open the engine, run it for the first time, and take its accuracy. Raises EngineError.

    With a further number of threads only the opening is new: what is known stays.
    """
    _, load_ms = clock.once(engine.open)
    if each.timings.accuracy is not None:
        return
    batch = batch_of(test.images, engine.signature, 1)
    _, first_call_ms = clock.once(partial(engine.infer, batch))
    outputs, signature = answers(engine, test.images, batch_size), engine.signature
    task = tasks.asked(signature)
    accuracy = task.quality(outputs, test.labels, signature)
    each.add(accuracy=accuracy, load_ms=load_ms, first_call_ms=first_call_ms)
    each.answers = Answers.of(outputs, test.labels, signature)
    each.by_output = _by_output(each.answers, outputs, test.labels)
    if each.is_trained:
        few = sampled(test)
        each.knows = is_above_luck(outputs[few], test.take(few), signature)
    each.record = each.record.ran()


def _by_output(whole: Answers, outputs: Outputs, targets: Targets) -> dict[str, OutputAnswers]:
    signature = whole.signature
    if not signature.heads:
        return {"": OutputAnswers(whole, _classes(outputs, targets, signature))}
    return {
        own.output_name: OutputAnswers(Answers.of(said, right, own), _classes(said, right, own))
        for own, said, right in several.split(outputs, targets, signature)
        if own.task != "raw"
    }


def _classes(outputs: Outputs, targets: Targets, signature: Signature) -> Classification | None:
    return tasks.asked(signature).describe(outputs, targets, signature)


def _time(
    running: Sequence[tuple[BenchmarkedEngine, Engine]],
    test: Split,
    threads: int,
    settings: Benchmark,
) -> Calls:
    """Time the engines of each device in turns at every batch size; adds the rows to their
    timings.
    """
    calls = {}
    for batch_size in running[0][1].signature.batch_sizes(settings.batch_sizes):
        progress.report(f"batch {batch_size}, threads: {threads}")
        images = batch_of(test.images, running[0][1].signature, batch_size)
        on_gpu = {each.name for each, _ in running if each.is_on_gpu}
        windows, gpu_clocks = turns.until_stable(
            {each.name: partial(engine.infer, images) for each, engine in running},
            on_gpu.__contains__,
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
            device = {
                "parts_ms": engine.time_parts(images, PARTS_CALLS),
                "gpu_clocks": gpu_clocks if each.is_on_gpu else (),
            }
            row = row.model_copy(update=device)
            each.add(latency=(*each.timings.latency, row))
            calls[f"{each.name}.b{batch_size}.t{threads}"] = taken.astype(np.float32)
    return calls


def _saturate(
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
        peaks = memory.peak_memory_mib(each.record, engine.file.parent, threads, sizes)
    others = tuple(row for row in each.timings.latency if row.threads != threads)
    filled = tuple(
        row.model_copy(
            update={
                "saturated_images_per_second": rate,
                "saturating_engines": count,
                "saturating_streams": engine.gpu.streams if each.is_on_gpu else None,
                "gpu_memory_mib": engine.gpu_memory_mib,
                "peak_memory_mib": peaks.get(row.batch_size),
            }
        )
        for row, rate in zip(rows, rates, strict=True)
    )
    each.add(latency=others + filled)
