"""One rung of one trial: an ordinary run of the line in a folder of its own, and its latency.

    trials/0007/          the artifact folder of trial 7, as of any other run
    reference/            a build whose baseline every engine is timed beside
    pool/                 what trials share: see pool.py

A job is all that a place needs to know; what it returns and raises travels back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from pipeline.core import ownership, received
from pipeline.core.display import Nothing, Step
from pipeline.core.hashing import key_of
from pipeline.core.lock import FILE as LOCK
from pipeline.core.plan import PLAN, Plan, select
from pipeline.core.record import Record
from pipeline.core.runner import Line, run
from pipeline.core.store import Store
from pipeline.search import machine
from pipeline.search.model import RungResult, Tested
from pipeline.search.pool import MAKING, Pool, share
from stages.artifacts.file_lock import waiting
from stages.engines import environment, files
from stages.engines.registry import ENGINES
from stages.errors import ArtifactError, DataError, EngineError
from stages.measurement import against_reference, memory
from stages.measurement.alone import WAITS, alone_on_machine
from stages.measurement.choice import Budget, pick
from stages.results.base import StageResult
from stages.results.engines import (
    BenchmarkResult,
    BuildDetails,
    BuildResult,
    Candidate,
    EngineRecord,
)
from stages.results.pruning import PruneResult
from stages.settings import Settings
from stages.settings.searching import Search

ANY_LOSS = Budget(samples=1, points=1e9)
"""Which every engine is within."""

REFERENCE = "reference"
MEASURED, TESTED = "build", "benchmark"
"""The last stage of a trial, and that of a winner, which alone shows engines the test images."""

Tell = Callable[[str], None]


class Job(BaseModel):
    """A rung of a trial, or with `rung` None the benchmark of a winner's `engine`.

    root      the folder of the search
    base      the artifact folder of the line, whose stages are shared too
    external  the hash of every file of the user, by its path, as of all trials of the search
    machine   the facts of what they are timed on, as of all of them too
    settings  those of this trial at this rung, as JSON
    """

    model_config = ConfigDict(frozen=True)

    root: Path
    base: Path
    trial: int
    rung: int | None
    settings: dict[str, Any]
    engine: str | None = None
    external: dict[str, str] = {}
    machine: dict[str, Any] = {}


class Told(Nothing):
    """Tells which stage begins, and that it waits; all else of a trial is in its folder."""

    def __init__(self, tell: Tell) -> None:
        super().__init__()
        self._tell = tell

    def start(self, stage: str, reason: str) -> None:
        self._tell(stage)

    def progress(self, level: str, text: str, step: Step | None) -> None:
        if text == WAITS:
            self._tell(WAITS)


def folder_of(root: Path, trial: int) -> Path:
    """The artifact folder of a trial."""
    return root / "trials" / f"{trial:04}"


def stages_of_trial(plan: Plan = PLAN) -> Plan:
    """The stages that every trial runs."""
    return select(plan, (), None, MEASURED)


def run_job(job: Job, tell: Tell = lambda stage: None) -> RungResult | Tested:
    """Do the job in this process. Raises UserError, and whatever a run of the line raises."""
    clock, folder = time.monotonic(), folder_of(job.root, job.trial)
    settings = received.settle(Settings.model_validate(job.settings), None)
    store = Store(folder, PLAN)
    ownership.claim(folder, PLAN, [])
    # A worker that was killed with its search may still be ending.
    with waiting(folder / LOCK):
        pool = Pool(job.root / "pool", PLAN, job.base, lambda: tell(WAITS))
        facts = environment.describe().model_dump(mode="json")
        line = Line(PLAN, settings, store, facts, Told(tell), shelf=pool)
        run(line, select(PLAN, (TESTED,)) if job.rung is None else stages_of_trial())
        refuse_other_files(store, job.external)
        found: RungResult | Tested = (
            _tested(store, job) if job.rung is None else _measured(store, settings, job, tell)
        )
        machine.refuse_other(job.machine)
    if isinstance(found, Tested):
        return found
    return found.model_copy(
        update={"seconds": round(time.monotonic() - clock, 3), "ran": tuple(line.begun)}
    )


def refuse_other_files(store: Store, external: Mapping[str, str]) -> None:
    """Raise DataError where a file of the user is not as in `external`, its hash by its path."""
    for stage in PLAN:
        record = store.read(stage.name)
        for name, found in record.external.items() if record else ():
            if found != external.get(name, found):
                raise DataError(
                    f"{name} has changed since the search began: its trials would not compare",
                    "put it back, or search in another folder with --artifacts",
                )


def _measured(store: Store, settings: Settings, job: Job, tell: Tell) -> RungResult:
    trained, record = store.read("train"), store.read(MEASURED)
    if (
        not (trained and record and isinstance(record.measurements, BuildResult))
        or job.rung is None
    ):
        raise EngineError("no build to measure", "run: pipeline doctor")
    search, folder = settings.search, store.folder(MEASURED)
    details = record.measurements.details
    is_last = job.rung == len(search.rungs) - 1
    chosen, top1, trained_top1, samples = candidate(details, search, is_last)
    engine = next(each for each in record.measurements.engines if str(each.name) == chosen.engine)
    alone = EngineRecord.model_validate(dict(engine))
    reference = _reference(job.root, store)
    with alone_on_machine(lambda: tell(WAITS)):
        tell("latency")
        latency = against_reference.measure(
            alone,
            folder,
            chosen.threads,
            reference,
            search.batch_size,
            settings.benchmark,
            settings.gpu,
        )
        peaks_mib = (
            memory.peak_memory_mib(alone, folder, chosen.threads, [search.batch_size])
            if "memory" in search.objectives
            else {}
        )
    return RungResult(
        rung=job.rung,
        engine=chosen.engine,
        threads=chosen.threads,
        timed=identity_of(engine, record, chosen.threads, settings),
        trained=trained.files["model.keras"].sha256,
        top1=top1,
        trained_top1=trained_top1,
        samples=samples,
        metric=details.choice.metric if details.choice else None,
        size_bytes=size_of(engine, record),
        latency=latency,
        memory_mib=peaks_mib.get(search.batch_size),
        seconds=0.0,
        widths={} if is_last else _met(store, settings),
    )


def _met(store: Store, settings: Settings) -> dict[str, int]:
    """The widths with which `prune` met a latency target; none where the fine-tune decides too."""
    pruned, wanted = store.read("prune"), settings.prune
    is_met_once = wanted.max_accuracy_drop is None and wanted.rounds == 1
    if pruned and isinstance(pruned.measurements, PruneResult) and is_met_once:
        return dict(pruned.measurements.details.widths)
    return {}


def identity_of(engine: EngineRecord, record: Record, threads: int, settings: Settings) -> str:
    """SHA-256 of all that decides how long a call of the engine takes."""
    names = files.of_engine(str(engine.file), record.files)
    is_on_cpu = ENGINES[engine.backend].device == "cpu"
    return key_of(
        {
            "engine": str(engine.name),
            "files": [record.files[name].sha256 for name in names],
            "threads": threads,
            "batch_size": settings.search.batch_size,
            "gpu": None if is_on_cpu else settings.gpu.model_dump(mode="json"),
        }
    )


def size_of(engine: EngineRecord, record: Record) -> int:
    """Bytes of every file that the engine is exported with."""
    names = files.of_engine(str(engine.file), record.files)
    return sum(record.files[name].size_bytes for name in names)


def candidate(
    details: BuildDetails, search: Search, is_last: bool
) -> tuple[Candidate, float, float, int]:
    """The engine that stands for a trial, its accuracy, the trained network's, of how many images.

    The one that `build` chose. Where it has lost more than the budget of `build` before the last
    rung, the fastest: a network that is not trained yet has lost it in all engines, and which of
    them has an image more is chance. Raises EngineError where the engine was not timed here, or its
    accuracy is not known.
    """
    choice = details.choice
    best = choice.chosen.get(search.batch_size) if choice else None
    if choice and best and not (is_last or best.within_budget):
        best = pick(choice.table, search.batch_size, ANY_LOSS)
    if choice is None or best is None or choice.trained_top1 is None:
        raise EngineError(
            f"no engine was timed at batch {search.batch_size}", "see: pipeline doctor"
        )
    wanted = best.engine if search.engine == "best" else search.engine
    threads = best.threads if search.engine == "best" else None
    timed = [
        each
        for each in choice.table
        if each.engine == wanted
        and each.batch_size == search.batch_size
        and each.threads == (threads or each.threads)
    ]
    if not timed:
        ran = sorted({each.engine for each in choice.table})
        raise EngineError(
            f"search.engine: {wanted} was not timed at batch {search.batch_size}; "
            f"these were: {', '.join(ran)}",
            "choose one of them, or: --set search.engine=best",
        )
    found = min(timed, key=lambda each: each.p50_ms)
    top1 = _known(found.top1, found.engine)
    return found, top1, choice.trained_top1, choice.validation_samples or 0


def _reference(root: Path, store: Store) -> Path:
    """The build that all trials are timed beside: that of the trial that came first.

    Raises ArtifactError where it is not any more what it was.
    """
    kept = Store(root / REFERENCE, PLAN)
    kept.root.mkdir(parents=True, exist_ok=True)
    with waiting(kept.root / MAKING):
        kept.recover()
        record = kept.read(MEASURED)
        if record is None:
            share(store, kept, MEASURED)
        elif damage := kept.damage(MEASURED, record, in_full=True):
            raise ArtifactError(
                f"{damage[0]}, and every trial was timed beside it",
                "a search of its own, in another folder: --artifacts",
            )
    return kept.folder(MEASURED)


def _tested(store: Store, job: Job) -> Tested:
    record = store.read(TESTED)
    return benchmarked(record.measurements if record else None, str(job.engine))


def benchmarked(measured: StageResult | None, engine: str) -> Tested:
    """What the benchmark of a winner says of its engine.

    Raises EngineError where it did not run there, or its score is not known.
    """
    if not isinstance(measured, BenchmarkResult):
        raise EngineError("no benchmark of the trial", "run: pipeline doctor")
    found = next((each for each in measured.engines if str(each.name) == engine), None)
    baseline = measured.details.baseline
    if found is None or found.accuracy is None or baseline is None or baseline.accuracy is None:
        raise EngineError(f"{engine} did not run in the benchmark", "see: pipeline doctor")
    return Tested(
        top1=_known(found.accuracy.score, engine),
        samples=found.accuracy.samples or 0,
        trained_top1=_known(baseline.accuracy.score, "the trained model"),
    )


def _known(score: float | None, what: str) -> float:
    """Instead of an unknown score, which a 0 would put above an R2 below it, raises EngineError."""
    if score is None:
        raise EngineError(f"the score of {what} was not measured", "see: pipeline doctor")
    return score
