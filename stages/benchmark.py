"""Stage `benchmark`: how accurate and how fast the engines themselves are.

latency.npz     milliseconds of every call, float32, as `<engine>.b<batch>.t<threads>`
predictions.npz the class that each engine predicts for every test image, the true "labels", and the
                SHA-256 of the "images", where answers are classes of images
changed.npz     some images that the engine classifies differently: prediction_diff.py
answers.npz     some answers of the trained model and of the engine, in other tasks than
                classification: kept_answers.py; of several outputs both files have each

Accuracy is that of each engine's own outputs on the whole test split, or on the part of it that
`convert` carried to a machine without the data set. Latency is that of
`Engine.infer`: images in host memory in, logits in host memory out, the engines and
the baseline (the trained, unpruned float32 model in ONNX Runtime) timed in turns, engines on a GPU
among themselves. TensorFlow is not needed: this stage runs on the machine that the engines are for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from stages import progress
from stages.artifacts.signature import Signature
from stages.datasets import carried
from stages.datasets.base import Split
from stages.datasets.loading import load_test_split
from stages.engines import environment, records
from stages.engines.records import BASELINE, BASELINE_ENGINE
from stages.measurement import (
    choice,
    clock,
    gpu_peaks,
    machine_state,
    peaks,
    prediction_diff,
    shown_answers,
)
from stages.measurement.benchmarked_engine import (
    BenchmarkedEngine,
    Calls,
    measure_together,
)
from stages.results.base import ModelFacts
from stages.results.engines import (
    Bandwidth,
    BenchmarkDetails,
    BenchmarkResult,
    Chosen,
    EngineRecord,
    MachineState,
    OutputDetails,
    Peak,
    PredictionDiff,
    ShownImages,
)
from stages.settings import Benchmark, BenchmarkStage

Peaks = TypeVar("Peaks")

LATENCY_FILE = "latency.npz"
PREDICTIONS_FILE = "predictions.npz"
HASHED_BYTES = 2**24
"""Of images at once, all of which may be more than memory holds."""
COPIES = 4
"""Of different sizes; together they take as long as one kernel."""


def run(settings: BenchmarkStage, inputs: Mapping[str, Path], out: Path) -> BenchmarkResult:
    """Measure every engine that runs here; write the raw samples into `out`.

    An engine that cannot run does not stop the others. Raises DataError where the test split
    cannot be read, ArtifactError where none is carried, EngineError where the baseline cannot run.
    The model of the result is the engine that the build stage chose.
    """
    source = inputs["build"]
    test = images_of(settings, source)
    baseline, engines = listed(source)
    chosen = choice.read(source)
    before, gpus = machine_state.snapshot(), {"before": machine_state.gpus()}
    calls: Calls = {}
    for threads, taking, own in rounds(engines, chosen, settings):
        # The baseline is timed with every thread count again: a speed-up is a ratio of
        # the same seconds (decision 4).
        calls |= measure_together([baseline, *taking], source, test, threads, own)
    gpus["after"] = machine_state.gpus()
    np.savez(out / LATENCY_FILE, **calls)  # type: ignore[arg-type]
    keep_predictions([baseline, *engines], test, out)
    results = tuple(each.result() for each in engines)
    best = records.chosen(results, chosen)
    counted = tuple(differences(baseline, engines))
    of_best = next((each for each in engines if best and each.name == str(best.name)), None)
    shown = shown_answers.keep(baseline, of_best, test, source, settings, out) if of_best else {}
    told = output_details(baseline, engines, of_best, shown)
    alone = told.pop("", OutputDetails())
    conditions = describe(before, gpus, settings)
    arithmetic, memory = peaks_here(results, source, chosen, settings.benchmark)
    return BenchmarkResult(
        model=ModelFacts(file=best.file if best else None),
        accuracy=best.accuracy if best else None,
        latency=best.latency if best else (),
        details=BenchmarkDetails(
            fastest=str(best.name) if best else None,
            baseline=baseline.timings,
            knows_more_than_luck=baseline.knows,
            classification=alone.classification,
            changed=next(
                (each for each in counted if of_best and each.engine == of_best.name), None
            ),
            shown=alone.shown,
            differences=counted,
            outputs=told,
            images="carried" if settings.data is None else "test",
            conditions=conditions,
            peaks=arithmetic,
            bandwidths=memory,
        ),
        engines=results,
    )


def rounds(
    engines: Sequence[BenchmarkedEngine], chosen: Mapping[int, Chosen], settings: BenchmarkStage
) -> Iterator[tuple[int, list[BenchmarkedEngine], BenchmarkStage]]:
    """Number of threads, the engines that run with so many, and the settings to measure these by.

    First with every number of the settings, then with those that build chose beside them. Measure
    each before the next is asked for: the latter are of engines that the former have timed.
    """
    options = settings.benchmark
    for threads in options.threads:
        yield threads, [each for each in engines if each.runs_with(threads, options)], settings
    for threads, sizes in further(chosen, options).items():
        names = {chosen[size].engine for size in sizes}
        taking = [each for each in engines if each.name in names and each.timings.latency]
        fewer = options.model_copy(update={"batch_sizes": sizes})
        yield threads, taking, settings.model_copy(update={"benchmark": fewer})


def peaks_here(
    engines: Sequence[EngineRecord],
    source: Path,
    chosen: Mapping[int, Chosen],
    settings: Benchmark,
) -> tuple[tuple[Peak, ...], tuple[Bandwidth, ...]]:
    """Those of arithmetic and of memory: of the CPU with every number of threads that an engine was
    timed with, and of a GPU that an engine ran on."""
    progress.report("peaks of this machine")
    counts, first = sorted({*settings.threads, *further(chosen, settings)}), settings.threads[0]
    seconds = min(peaks.SECONDS, settings.max_seconds_per_engine)
    arithmetic = (
        *measured(lambda: gpu_peaks.arithmetic(engines, first)),
        *measured(lambda: peaks.arithmetic(engines, source, counts, seconds)),
    )
    memory = (
        *measured(lambda: gpu_peaks.memory(engines, first)),
        *measured(lambda: peaks.memory(counts, seconds / COPIES)),
    )
    return arithmetic, memory


def measured(peaks_of: Callable[[], Iterable[Peaks]]) -> tuple[Peaks, ...]:
    """The peaks, or those until one fails, with a warning: the engines are timed by then."""
    found: list[Peaks] = []
    try:
        for each in peaks_of():
            found.append(each)
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        progress.warn(f"a peak of this machine is left out: {type(error).__name__}: {said}")
    return tuple(found)


def images_of(settings: BenchmarkStage, source: Path) -> Split:
    """The test split, or what of it was carried here. Raises DataError or ArtifactError."""
    if settings.data is not None:
        return load_test_split(settings.data, Signature.read(source))
    test = carried.read(source)
    progress.report(f"accuracy on the {len(test):,} test images that convert carried")
    return test


def listed(folder: Path) -> tuple[BenchmarkedEngine, list[BenchmarkedEngine]]:
    """The baseline and the engines of a build folder. Raises EngineError."""
    record = EngineRecord(**BASELINE_ENGINE._asdict(), file=BASELINE)
    engines = [BenchmarkedEngine(str(each.name), each) for each in records.read(folder)]
    return BenchmarkedEngine(f"baseline.{record.name}", record, is_trained=True), engines


def further(chosen: Mapping[int, Chosen], settings: Benchmark) -> dict[int, tuple[int, ...]]:
    """Thread counts that build chose and the settings lack, with their batch sizes."""
    found: dict[int, tuple[int, ...]] = {}
    for size in settings.batch_sizes:
        threads = chosen[size].threads if size in chosen else settings.threads[0]
        if threads not in settings.threads:
            found[threads] = (*found.get(threads, ()), size)
    return found


def keep_predictions(engines: Sequence[BenchmarkedEngine], test: Split, out: Path) -> None:
    """Write the predictions of each engine, (N,), and the labels, in the smallest integer type.

    Beside them the SHA-256 of the images, uint8 (32,): two runs that were shown the same ones are
    compared image by image.
    """
    found = {each.name: each.answers.decisions for each in engines if each.answers}
    arrays = {name: each for name, each in found.items() if each is not None}
    if not arrays:
        return
    arrays["labels"] = test.labels
    smallest = np.min_scalar_type(max(int(each.max()) for each in arrays.values()))
    kept = {name: each.astype(smallest) for name, each in arrays.items()}
    kept["images"] = np.frombuffer(digest_of(test), np.uint8)
    np.savez_compressed(out / PREDICTIONS_FILE, **kept)  # type: ignore[arg-type]


def digest_of(split: Split) -> bytes:
    """The SHA-256 of its images, in their order."""
    digest = hashlib.sha256(str((split.images.shape, split.images.dtype)).encode())
    step = max(1, HASHED_BYTES // max(split.images[:1].nbytes, 1))
    for start in range(0, len(split), step):
        digest.update(split.images[start : start + step].tobytes())
    return digest.digest()


def differences(
    baseline: BenchmarkedEngine, engines: Sequence[BenchmarkedEngine]
) -> Iterator[PredictionDiff]:
    """The answers of every engine that ran against the baseline's, image by image."""
    if baseline.answers is not None:
        for each in engines:
            if each.answers is not None:
                yield prediction_diff.count(baseline.answers, each.answers, each.name)


def output_details(
    baseline: BenchmarkedEngine,
    engines: Sequence[BenchmarkedEngine],
    best: BenchmarkedEngine | None,
    shown: Mapping[str, ShownImages | None],
) -> dict[str, OutputDetails]:
    """What is told of the answers of each output, "" of the only one; `best` is the chosen engine,
    of whose answers the images `shown` are."""
    return {
        name: OutputDetails(
            classification={
                "baseline" if each is baseline else each.name: said.classes
                for each in (baseline, *engines)
                if (said := each.by_output.get(name)) and said.classes
            },
            changed=prediction_diff.count(before.answers, best.by_output[name].answers, best.name)
            if best
            else None,
            shown=shown.get(name),
        )
        for name, before in baseline.by_output.items()
    }


def describe(
    before: machine_state.Snapshot, gpus: dict[str, Any], settings: BenchmarkStage
) -> MachineState:
    """What a reader must know beside the numbers."""
    machine, after = environment.describe(), machine_state.snapshot()
    return MachineState(
        cpu=machine.cpu.model,
        cpu_flags=machine.cpu.flags,
        packages=machine.packages,
        load_average_before=before.load_average,
        load_average_after=after.load_average,
        cpu_steal_percent=machine_state.steal_percent(before, after),
        governor=machine_state.governor(),
        clock_overhead_ms=clock.overhead_ms(),
        warmup_seconds=settings.benchmark.warmup_seconds,
        seconds=settings.benchmark.max_seconds_per_engine,
        windows=(clock.MIN_WINDOWS, clock.MAX_WINDOWS),
        gpu=gpus if gpus["before"] else None,
        gpu_wait=settings.gpu.wait if gpus["before"] else None,
        gpu_input=settings.gpu.input if gpus["before"] else None,
    )
