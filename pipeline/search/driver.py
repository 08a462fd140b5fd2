"""The loop of a search: ask for a trial, run it rung by rung, tell what came of it.

What is decided is decided here, between two jobs, from what Optuna's storage holds. So a search
that was killed goes on from there: stages that are done are fresh, and the trial that was under way
continues at its rung.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pipeline.core.plan import PLAN
from pipeline.core.store import Store
from pipeline.search import objectives, rungs
from pipeline.search.job import Job, folder_of, stages_of_trial
from pipeline.search.knobs import Dimension, controls, settings_of
from pipeline.search.machine import Facts
from pipeline.search.model import RungResult, Tested, Trial, controls_among
from pipeline.search.objectives import Miss, Yardstick
from pipeline.search.places import Done, Lost, Place, Said
from pipeline.search.pool import Pool
from pipeline.search.study import Study
from stages.errors import (
    DataError,
    MachineError,
    NothingPruned,
    SettingsError,
    StageCrashed,
    UserError,
)
from stages.settings import Settings

ENDS_ALL = (DataError, MachineError)
"""What would go wrong in every trial: the data set, the machine."""

FIRST_FAILURES = 3
"""So many trials that fail before any has succeeded end the search."""

MOST_LOST = 3
"""A job whose place is lost more often than this is what kills it."""

KEPT_STAGES = ("train", "prune")
"""Of a trial that was stopped: training is what others may share, and what takes longest."""


class Shown(Protocol):
    """What a search shows while it runs."""

    def started(self, job: Job) -> None:
        """A job begins."""

    def said(self, job: Job, stage: str) -> None:
        """It is at this stage."""

    def ended(self, trial: Trial, words: str) -> None:
        """A rung is done, or a trial: in words."""


@dataclass
class Driver:
    """A search under way; `folder` is its own, below the artifact folder `base`.

    `external` has the hashes of the user's files, and `machine` the facts of what engines are timed
    on, neither of which a trial may find changed.
    """

    settings: Settings
    varied: Sequence[Dimension]
    study: Study
    place: Place
    shown: Shown
    folder: Path
    base: Path
    external: Mapping[str, str] = field(default_factory=dict)
    machine: Facts = field(default_factory=dict)
    clock: Callable[[], float] = time.monotonic
    waiting: deque[Job] = field(default_factory=deque)
    running: set[int] = field(default_factory=set)
    lost: Counter[int] = field(default_factory=Counter)
    again: int = 0
    """Controls to ask for though there may be no trial left: an earlier call's failed."""

    def __post_init__(self) -> None:
        self.controls = controls(self.settings, self.varied)

    def run(self) -> None:
        """Until all trials have ended, or the time is up. Raises UserError."""
        end = None if self.settings.search.hours is None else self._after_hours()
        self._begin()
        while True:
            while len(self.running) < self.place.slots and (job := self._next(end)):
                self._start(job)
            if not self.running:
                break
            self._hear(self.place.wait())
        self._refuse_all_failed(1)

    def test(self, winners: Sequence[Trial]) -> None:
        """Benchmark winners: they alone see the test images, and each of them once."""
        self.waiting = deque(self._job(each, None) for each in winners if each.tested is None)
        while self.waiting or self.running:
            while self.waiting and len(self.running) < self.place.slots:
                self._start(self.waiting.popleft())
            self._hear(self.place.wait())

    def _after_hours(self) -> float:
        return self.clock() + 3600 * float(self.settings.search.hours or 0)

    def _begin(self) -> None:
        """Let what an earlier call began go on; first come controls that no trial has done yet."""
        begun = [each.number for each in self.study.trials() if each.state == "running"]
        resumed = [trial for number in begun if (trial := self.study.draw(number, self.varied))]
        known = self.study.trials()
        tried = controls_among(known, self.controls).values()
        sound = [each for each in known if each.state != "failed"]
        done = controls_among(sound, self.controls).values()
        for control in self.controls:
            if control not in done:
                self.study.enqueue(control.values, self.varied)
                self.again += control in tried
        for trial in resumed:
            if trial.last:
                self._judge(trial, trial.last)
            elif job := self._ready(trial, 0):
                self.waiting.append(job)

    def _next(self, end: float | None) -> Job | None:
        """What to start now; None where nothing is left to do, or no time to do it."""
        while end is None or self.clock() < end:
            if self.waiting:
                return self.waiting.popleft()
            if not self.again and len(self.study.trials()) >= self.settings.search.most_trials:
                return None
            self.again = max(0, self.again - 1)
            trial = self.study.ask(self.varied)
            if trial is None:  # Every combination that there is has been tried.
                return None
            if job := self._ready(trial, 0):
                return job
        return None

    def _ready(self, trial: Trial, rung: int) -> Job | None:
        """A rung of a trial; None where its values do not go together, and it has failed."""
        try:
            return self._job(trial, rung)
        except SettingsError as error:
            self._fail(trial.number, error)
            return None

    def _start(self, job: Job) -> None:
        self.running.add(job.trial)
        self.shown.started(job)
        self.place.start(job)

    def _job(self, trial: Trial, rung: int | None) -> Job:
        """A rung of a trial; None is its benchmark. Raises SettingsError."""
        own = settings_of(self.settings, trial.ran_with)
        if rung is not None:
            own = rungs.at_rung(own, rung, self.settings)
        return Job(
            root=self.folder.absolute(),
            base=self.base.absolute(),
            trial=trial.number,
            rung=rung,
            settings=own.model_dump(mode="json"),
            engine=trial.last.engine if trial.last else None,
            external=dict(self.external),
            machine=dict(self.machine),
        )

    def _hear(self, heard: Said | Done | Lost) -> None:
        if isinstance(heard, Said):
            self.shown.said(heard.job, heard.stage)
            return
        number = heard.job.trial
        self.running.discard(number)
        if isinstance(heard, Lost):
            self.lost[number] += 1
            if self.lost[number] <= MOST_LOST:
                self.waiting.appendleft(heard.job)
                self.shown.ended(self.study.trial(number), f"once more: {heard.reason}")
                return
            heard = Done(heard.job, error=StageCrashed(heard.reason))
        if isinstance(heard.error, ENDS_ALL):
            raise heard.error
        if isinstance(heard.error, NothingPruned) and heard.job.rung is not None:
            self._unprune(number, heard.job.rung, heard.error)
        elif isinstance(heard.result, Tested):
            self.study.keep_tested(number, heard.result)
            self.shown.ended(self.study.trial(number), "tested")
        elif isinstance(heard.result, RungResult):
            result = self._timed_once(heard.result)
            self._judge(self.study.add(number, result), result)
        elif heard.job.rung is None:
            self.shown.ended(self.study.trial(number), f"not tested: {_with_hint(heard.error)}")
        else:
            self._fail(number, heard.error)

    def _timed_once(self, result: RungResult) -> RungResult:
        """With the latency and the memory of the first result of the same engine, if there is one.

        Timed twice, an engine would beat itself by what is noise.
        """
        known = (rung for trial in self.study.trials() for rung in trial.rungs)
        alike = (each for each in known if each.timed == result.timed and self._is_measured(each))
        first = next(alike, result)
        return result.model_copy(update={"latency": first.latency, "memory_mib": first.memory_mib})

    def _is_measured(self, result: RungResult) -> bool:
        return objectives.is_measured(result, self.settings.search.objectives)

    def _judge(self, trial: Trial, result: RungResult) -> None:
        """What comes after the rung that it has done."""
        search, known = self.settings.search, self.study.trials()
        is_last = result.rung == len(search.rungs) - 1
        yardstick = Yardstick.of(each.last for each in known if each.last)
        missed = objectives.misses(result, search, yardstick, is_last)
        try:
            mine = objectives.standing(result, self.settings, yardstick, is_last)
        except SettingsError as error:  # An objective was not measured.
            self._fail(trial.number, error)
            return
        if is_last:
            self._finish(trial, mine.costs, missed)
        elif trial.number in controls_among(known, self.controls) or rungs.goes_on(
            mine, self._others(trial, result.rung, known, yardstick), search.kept_share
        ):
            if job := self._ready(trial, result.rung + 1):
                self.waiting.append(job)
                self.shown.ended(trial, "goes on")
        else:
            self._stop(trial, missed)

    def _others(
        self, trial: Trial, rung: int, known: Sequence[Trial], yardstick: Yardstick
    ) -> list[rungs.Standing]:
        results = [each.at(rung) for each in known if each.number != trial.number]
        return [
            objectives.standing(each, self.settings, yardstick, is_last=False)
            for each in results
            if each and self._is_measured(each)
        ]

    def _finish(self, trial: Trial, costs: Sequence[float], missed: Sequence[Miss]) -> None:
        self.study.finish(trial.number, costs, missed)
        words = "; ".join(["complete", *(f"misses {each.in_words}" for each in missed)])
        self.shown.ended(self.study.trial(trial.number), words)

    def _unprune(self, number: int, rung: int, error: NothingPruned) -> None:
        """Its rung again as the unpruned network, which it is: the sampler learns what that is."""
        trial = self.study.unprune(number, _in_words(error))
        self.waiting.appendleft(self._job(trial, rung))
        self.shown.ended(trial, f"goes on unpruned: {trial.unpruned}")

    def _stop(self, trial: Trial, missed: Sequence[Miss]) -> None:
        self.study.stop(trial.number, missed)
        store = Store(folder_of(self.folder, trial.number), PLAN)
        for stage in stages_of_trial():
            if stage.name not in KEPT_STAGES:
                store.discard(stage.name)
        Pool(self.folder / "pool", PLAN).sweep(KEPT_STAGES)
        why = "; ".join(f"misses {each.in_words}" for each in missed)
        words = f"stopped: {why or 'not among the best at its rung'}"
        self.shown.ended(self.study.trial(trial.number), words)

    def _fail(self, number: int, error: Exception | None) -> None:
        reason = _with_hint(error)
        self.study.fail(number, reason)
        self.shown.ended(self.study.trial(number), f"failed: {reason}")
        self._refuse_all_failed(FIRST_FAILURES)

    def _refuse_all_failed(self, fewest: int) -> None:
        """Raise UserError if nothing but failures has come of at least `fewest` trials."""
        trials = self.study.trials()
        failed = [each for each in trials if each.state == "failed"]
        if len(failed) == len(trials) >= fewest:
            last = failed[-1]
            count = "the only trial" if len(failed) == 1 else f"all {len(failed)} trials"
            raise UserError(
                f"{count} failed, the last: {last.reason}",
                f"what it did: {folder_of(self.folder, last.number)}",
            )


def _in_words(error: Exception | None) -> str:
    text = error.message if isinstance(error, UserError) else str(error)
    return " ".join(text.split())


def _with_hint(error: Exception | None) -> str:
    hint = " ".join(error.hint.split()) if isinstance(error, UserError) else ""
    return f"{_in_words(error)} ({hint})" if hint else _in_words(error)
