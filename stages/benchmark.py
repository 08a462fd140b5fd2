"""Stage `benchmark`: how accurate and how fast the engines themselves are.

latency.npz     milliseconds of every call, float32, as `<engine>.b<batch>.t<threads>`
predictions.npz the class that each engine named for every test image, and the true "labels"
changed.npz     some images that the engine names otherwise than the trained model: changes.py

Accuracy is that of each engine's own outputs on the whole test split. Latency is that of
`Engine.infer`: images in host memory in, logits in host memory out, the engines and
the baseline (the trained, unpruned float32 model in ONNX Runtime) timed in turns. TensorFlow
is not needed: this stage runs on the machine that the engines are for.
"""

from __future__ import annotations

import dataclasses
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
from stages.engines.records import BASELINE, Entry
from stages.engines.registry import ENGINES
from stages.errors import EngineError
from stages.measurement import choice, clock, machine_state, prediction_diff, throughput
from stages.measurement.accuracy import batch_of, logits
from stages.numerics import classification, latency
from stages.settings import Benchmark, BenchmarkStage

LATENCY_FILE = "latency.npz"
PREDICTIONS_FILE = "predictions.npz"
PARTS_CALLS = 100
"""Calls whose copies and computation are timed apart, on a GPU."""
SATURATED_SHARE = 0.2
"""Of benchmark.seconds, for each batch size: enough for a rate of calls that already run warm."""


@dataclass
class Subject:
    """An engine under test, and what has been found out about it."""

    name: str
    entry: Entry
    accuracy: dict[str, Any] | None = None
    load_ms: float | None = None
    first_call_ms: float | None = None
    latency: list[dict[str, Any]] = field(default_factory=list)
    classes: dict[str, Any] | None = None
    named: NDArray[np.int64] | None = None

    def takes(self, threads: int, settings: Benchmark) -> bool:
        """Whether it is to be run with so many threads; they mean nothing to a GPU."""
        on_cpu = ENGINES[self.entry.backend].device == "cpu"
        return self.entry.file is not None and (on_cpu or threads == settings.threads[0])

    def found(self) -> dict[str, Any]:
        """What was measured, without what was known before."""
        apart = ("name", "entry", "classes", "named")
        return {key: value for key, value in vars(self).items() if key not in apart}


def run(settings: BenchmarkStage, inputs: Mapping[str, Path], out: Path) -> dict[str, Any]:
    """Measure every engine that runs here; write the raw samples into `out`.

    An engine that cannot run does not stop the others. Raises DataError where the test split
    cannot be read, and EngineError where the baseline cannot run.
    The model that the measurements name is the engine that the build stage chose.
    """
    source = inputs["build"]
    test = datasets.load_test(settings.data)
    baseline = Subject("baseline.onnxruntime.fp32", Entry("onnxruntime", "fp32", BASELINE))
    subjects = [Subject(entry.name, entry) for entry in records.read(source)]
    chosen = choice.read(source)
    before, gpus = machine_state.snapshot(), {"before": machine_state.gpus()}
    samples: dict[str, NDArray[np.float32]] = {}
    for threads in settings.benchmark.threads:
        taking = [each for each in subjects if each.takes(threads, settings.benchmark)]
        samples |= compare([baseline, *taking], source, test, threads, settings.benchmark)
        # Right after the engines' last calls: asked in between, it would be one more load.
        gpus["during"] = machine_state.gpus()
    for threads, sizes in further(chosen, settings.benchmark).items():
        names = {chosen[str(size)]["engine"] for size in sizes}
        taking = [each for each in subjects if each.name in names and each.latency]
        knobs = settings.benchmark.model_copy(update={"batch_sizes": sizes})
        samples |= compare([baseline, *taking], source, test, threads, knobs)
    np.savez(out / LATENCY_FILE, **samples)  # type: ignore[arg-type]
    table = [{**dataclasses.asdict(each.entry), **each.found()} for each in subjects]
    best = records.chosen(table, chosen)
    fastest = f"{best['backend']}.{best['precision']}" if best else None
    named = {each.name: each.named for each in [baseline, *subjects]}
    keep_predictions(named, test.labels, out)
    return {
        **records.summary(best, file=None),
        "details": {
            "fastest": fastest,
            "baseline": baseline.found(),
            "classification": {
                "baseline": baseline.classes,
                **{each.name: each.classes for each in subjects if each.classes},
            },
            **prediction_diff.describe(test, named, baseline.name, fastest, out),
            "conditions": describe(
                before, gpus | {"after": machine_state.gpus()}, settings.benchmark
            ),
        },
        "engines": table,
    }


def further(chosen: Mapping[str, Any], settings: Benchmark) -> dict[int, tuple[int, ...]]:
    """Thread counts that build chose and the settings do not ask for, with their batch sizes."""
    found: dict[int, tuple[int, ...]] = {}
    for size in settings.batch_sizes:
        threads = chosen.get(str(size), {"threads": settings.threads[0]})["threads"]
        if threads not in settings.threads:
            found[threads] = (*found.get(threads, ()), size)
    return found


def compare(
    subjects: Sequence[Subject], folder: Path, test: Split, threads: int, settings: Benchmark
) -> dict[str, NDArray[np.float32]]:
    """Open all subjects at once, take their accuracy, and time them in turns.

    The first subject must run; another that does not is noted and left out. Returns the
    milliseconds of every call, by the names in `latency.npz`.
    """
    signature = Signature.read(folder)
    running: list[tuple[Subject, Engine]] = []
    with ExitStack() as opened:
        for subject in subjects:
            progress.report(f"{subject.name}, threads: {threads}")
            try:
                engine = records.runner(subject.entry, folder, signature, threads)
                opened.callback(engine.close)
                start(subject, engine, test, max(settings.batch_sizes))
                running.append((subject, engine))
            except EngineError as error:
                if subject is subjects[0]:
                    raise
                subject.entry = subject.entry.stopped(error)
        samples = time_all(running, test, threads, settings)
        fill_up(running, test, threads, settings)
        return samples


def keep_predictions(
    named: Mapping[str, NDArray[np.int64] | None], labels: NDArray[np.int64], out: Path
) -> None:
    """Write what was named, int64 (N,) each, with the labels, in as few bytes as classes need.

    Two runs that were shown the same images are compared image by image.
    """
    arrays = {"labels": labels, **{name: each for name, each in named.items() if each is not None}}
    smallest = np.min_scalar_type(max(int(each.max()) for each in arrays.values()))
    kept = {name: each.astype(smallest) for name, each in arrays.items()}
    np.savez_compressed(out / PREDICTIONS_FILE, **kept)  # type: ignore[arg-type]


def start(subject: Subject, engine: Engine, test: Split, batch_size: int) -> None:
    """Open the engine, run it for the first time, and take its accuracy. Raises EngineError.

    With a further number of threads only the opening is new: what is known stays.
    """
    _, load_ms = clock.once(engine.open)
    if subject.accuracy is not None:
        return
    batch = batch_of(test.images, engine.signature, 1)
    _, first_call_ms = clock.once(partial(engine.infer, batch))
    outputs = logits(engine, test.images, batch_size)
    subject.accuracy = classification.metrics(outputs, test.labels).model_dump()
    names = engine.signature.class_names
    described = classification.describe(outputs, test.labels, names)
    subject.classes = described.model_dump(mode="json")
    subject.named = outputs.argmax(axis=1)
    subject.load_ms, subject.first_call_ms = load_ms, first_call_ms
    subject.entry = subject.entry.ran()


def time_all(
    running: Sequence[tuple[Subject, Engine]], test: Split, threads: int, settings: Benchmark
) -> dict[str, NDArray[np.float32]]:
    """Time the engines in turns at every batch size; adds the rows to the subjects."""
    samples = {}
    for batch_size in running[0][1].signature.batch_sizes(settings.batch_sizes):
        progress.report(f"batch {batch_size}, threads: {threads}")
        calls = {
            subject.name: partial(engine.infer, batch_of(test.images, engine.signature, batch_size))
            for subject, engine in running
        }
        windows = clock.until_stable(calls, settings.warmup_seconds, settings.seconds)
        for subject, engine in running:
            taken = np.concatenate(windows[subject.name])
            row = latency.row(
                taken,
                window_p50_ms=[float(np.median(each)) for each in windows[subject.name]],
                batch_size=batch_size,
                runtime=subject.entry.backend,
                precision=subject.entry.precision,
                threads=threads,
            ).model_dump(mode="json", exclude_none=True)
            images = batch_of(test.images, engine.signature, batch_size)
            if parts := engine.time_parts(images, PARTS_CALLS):
                row["parts_ms"] = parts
            subject.latency.append(row)
            samples[f"{subject.name}.b{batch_size}.t{threads}"] = taken.astype(np.float32)
    return samples


def fill_up(
    running: Sequence[tuple[Subject, Engine]], test: Split, threads: int, settings: Benchmark
) -> None:
    """Add to the rows what each engine gives when the GPU, or all cores, are kept busy.

    For CPU engines with the first number of threads also the memory: further ones change little.
    """
    for subject, engine in running:
        rows = [row for row in subject.latency if row["threads"] == threads]
        sizes = [row["batch_size"] for row in rows]
        batches = [batch_of(test.images, engine.signature, size) for size in sizes]
        seconds = SATURATED_SHARE * settings.seconds
        if ENGINES[subject.entry.backend].device == "gpu":
            progress.report(f"{subject.name}, batch after batch")
            for row, batch in zip(rows, batches, strict=True):
                rate = throughput.pipelined_images_per_second(engine, batch, seconds)
                row["saturated_images_per_second"], row["saturating_engines"] = rate, 1
                row["gpu_memory_mib"] = engine.gpu_memory_mib
            continue
        progress.report(f"{subject.name}, all cores")
        count, rates = throughput.saturated_images_per_second(
            subject.entry, engine, batches, seconds
        )
        folder, peaks = engine.file.parent, dict[int, float]()
        if threads == settings.threads[0]:
            peaks = throughput.peak_memory_mib(subject.entry, folder, threads, sizes)
        for row, rate in zip(rows, rates, strict=True):
            row["saturated_images_per_second"], row["saturating_engines"] = rate, count
            row["peak_memory_mib"] = peaks.get(row["batch_size"])


def describe(
    before: machine_state.Snapshot, gpus: Mapping[str, Any], settings: Benchmark
) -> dict[str, Any]:
    """What a reader must know beside the numbers."""
    machine = environment.describe()
    return {
        "cpu": machine["cpu"].get("model"),
        "cpu_flags": machine["cpu"].get("flags"),
        "packages": machine["packages"],
        **machine_state.between(before, machine_state.snapshot()),
        "governor": machine_state.governor(),
        "clock_overhead_ms": clock.overhead_ms(),
        "warmup_seconds": settings.warmup_seconds,
        "seconds": settings.seconds,
        "windows": [clock.MIN_WINDOWS, clock.MAX_WINDOWS],
        **({"gpu": gpus} if gpus["before"] else {}),
    }
