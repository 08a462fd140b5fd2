"""The fastest engine that is accurate enough, by timing all engines that run on this machine.

Every engine is timed with every thread count, in turns, at every batch size of the settings. It may
lose `build.max_accuracy_drop` points of accuracy against the trained, unpruned model, on validation
images, so that the test images stay unseen. `choice.json` carries the result to the benchmark.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from stages import progress
from stages.artifacts.signature import Signature
from stages.engines import records
from stages.engines.base import Engine
from stages.engines.registry import ENGINES, EngineName
from stages.errors import EngineError
from stages.measurement import accuracy, prediction_diff, turns
from stages.measurement.accuracy import batch_of
from stages.measurement.throughput import usable_cores
from stages.numerics import latency
from stages.results.engines import Candidate, Chosen, EngineChoice, EngineRecord
from stages.settings import Build, Gpu
from stages.tasks.base import Answers, Targets

FILE = "choice.json"
WARMUP_SECONDS = 0.05

CHOSEN = TypeAdapter(dict[int, Chosen])

Pixels = NDArray[np.uint8]
Opened = Mapping[tuple[EngineName, int], Engine]
"""Engines by name and number of threads."""


def choose(
    engines: Sequence[EngineRecord],
    folder: Path,
    images: Pixels,
    labels: Targets,
    settings: Build,
    gpu: Gpu | None = None,
) -> EngineChoice:
    """Time the engines that ran here and choose one per batch size; writes `choice.json`.

    Accuracy is that on `images` uint8 (N, H, W, C) with `labels` (N, ...), of the trained model
    as well, the baseline in `folder`. `gpu` is how engines on a GPU run. Raises EngineError where
    the baseline cannot run.
    """
    signature = Signature.read(folder)
    sizes = signature.batch_sizes(settings.batch_sizes)
    with ExitStack() as stack:
        opened = _open(engines, folder, settings, gpu, stack)
        # Threads change how fast an engine is, not what it answers: one accuracy per engine.
        by_name = {name: engine for (name, _), engine in opened.items()}
        largest = min(max(sizes), settings.max_batch_size)
        answers = {
            name: Answers.of(accuracy.answers(engine, images, largest), labels, signature)
            for name, engine in by_name.items()
        }
        trained = trained_answers(folder, images, labels, largest)
        timed = [each for size in sizes for each in _time(opened, images, size, settings)]
    lost = Budget(len(labels), settings.max_accuracy_drop, signature.counts_images)
    table = tuple(_judged(each, answers[name], trained, lost) for name, each in timed)
    chosen = {size: best for size in sizes if (best := pick(table, size, lost))}
    (folder / FILE).write_bytes(CHOSEN.dump_json(chosen, indent=2) + b"\n")
    return EngineChoice(
        batch_sizes=sizes,
        max_accuracy_drop=settings.max_accuracy_drop,
        validation_samples=len(labels),
        metric=signature.deciding,
        trained_top1=trained.score,
        differences=tuple(
            prediction_diff.count(trained, each, str(name)) for name, each in answers.items()
        ),
        table=table,
        chosen=chosen,
    )


def read(folder: Path) -> dict[int, Chosen]:
    """What `choose` has chosen, by batch size; empty where no engine ran.

    Raises EngineError where the file is damaged.
    """
    file = folder / FILE
    return records.read_json(file, CHOSEN) if file.is_file() else {}


@dataclass(frozen=True)
class Budget:
    """Accuracy, or another metric, that may be lost on so many images, in points of 0.01.

    Where images are counted, a single one may always be lost: on few images a smaller difference
    cannot be resolved.
    """

    samples: int
    points: float
    is_counted: bool = True

    def allows(self, top1: float, against: float) -> bool:
        """Whether `top1` is not too far below `against`."""
        # 1e-6 absorbs rounding: 0.7 / 100 * 1000 is a little less than 7.
        allowed = max(1.0 if self.is_counted else 0.0, self.points / 100 * self.samples)
        return (against - top1) * self.samples <= allowed + 1e-6


def trained_answers(folder: Path, images: Pixels, labels: Targets, batch_size: int) -> Answers:
    """Those of the trained model, the baseline engine. Raises EngineError."""
    baseline = EngineRecord(**records.BASELINE_ENGINE._asdict(), file=records.BASELINE)
    signature = Signature.read(folder).of_trained
    with records.runner(baseline, folder, signature, 1) as engine:
        return Answers.of(accuracy.answers(engine, images, batch_size), labels, signature)


def _judged(candidate: Candidate, answers: Answers, trained: Answers, lost: Budget) -> Candidate:
    """The same with how right it is, and whether that is enough beside the trained model."""
    allowed = lost.allows(answers.score, trained.score)
    return candidate.model_copy(update={"top1": answers.score, "within_budget": allowed})


def pick(table: Sequence[Candidate], batch_size: int, budget: Budget) -> Chosen | None:
    """The fastest candidate within the budget at a batch size; None if none was timed.

    Where none is within it, pruning has lost more than the budget and no engine can bring it back:
    the fastest is chosen that is within the budget of the most accurate one.

    A stable candidate counts with its median, another with the upper end of its interval, so that
    it is only chosen if it is faster even then. Where none is stable, all of them contain load of
    other programs: the lower ends are compared.
    """
    timed = [each for each in table if each.batch_size == batch_size]
    if not timed:
        return None
    best = max(_score(each) for each in timed)
    fitting = [each for each in timed if each.within_budget]
    fitting = fitting or [each for each in timed if budget.allows(_score(each), best)]
    is_any_stable = any(each.stable for each in fitting)

    def cost_ms(each: Candidate) -> float:
        bound = each.p50_high_ms if is_any_stable else each.p50_low_ms
        return each.p50_ms if each.stable or bound is None else bound

    found = min(fitting, key=cost_ms)
    return Chosen(
        engine=found.engine,
        threads=found.threads,
        stable=found.stable,
        within_budget=bool(found.within_budget),
    )


def _score(candidate: Candidate) -> float:
    return float("-inf") if candidate.top1 is None else candidate.top1


def _open(
    engines: Sequence[EngineRecord],
    folder: Path,
    settings: Build,
    gpu: Gpu | None,
    stack: ExitStack,
) -> Opened:
    """Every engine that ran, with every thread count that fits; threads mean nothing to a GPU."""
    signature = Signature.read(folder)
    fitting = [count for count in settings.threads if count <= usable_cores()] or [1]
    opened = {}
    for record in engines:
        if record.state != "ran":
            continue
        counts = fitting if ENGINES[record.backend].device == "cpu" else fitting[:1]
        for threads in counts:
            try:
                engine = records.runner(record, folder, signature, threads, gpu)
                opened[record.name, threads] = stack.enter_context(engine)
            except EngineError as error:
                progress.report(f"{record.name} is no candidate: {error.message}")
    return opened


def _time(
    opened: Opened, images: Pixels, batch_size: int, settings: Build
) -> list[tuple[EngineName, Candidate]]:
    """All engines that take this batch size, those of each device timed in turns."""
    calls = {
        (name, threads): partial(engine.infer, batch_of(images, engine.signature, batch_size))
        for (name, threads), engine in opened.items()
        if ENGINES[name.backend].device == "cpu" or batch_size <= settings.max_batch_size
    }
    progress.report(f"choose for batch {batch_size} among {len(calls)}")
    timed, _ = turns.until_stable(
        calls,
        lambda key: ENGINES[key[0].backend].device == "gpu",
        min(WARMUP_SECONDS, settings.max_seconds_per_engine),
        settings.max_seconds_per_engine,
    )
    return [
        (
            name,
            Candidate(
                engine=str(name),
                batch_size=batch_size,
                threads=threads,
                p50_ms=float(np.median(np.concatenate(windows))),
                **latency.certainty([float(np.median(each)) for each in windows]),
            ),
        )
        for (name, threads), windows in timed.items()
    ]
