"""A place whose jobs are sums: it trains nothing and times nothing, so that a search of many
trials takes a moment. Accuracy falls and latency falls as more is pruned; training repairs a part.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path

from pipeline import config
from pipeline.core.hashing import key_of
from pipeline.search import knobs
from pipeline.search.driver import Driver
from pipeline.search.job import Job, stages_of_trial
from pipeline.search.live import Quiet
from pipeline.search.model import RungResult, Tested
from pipeline.search.places import Done, Lost
from pipeline.search.study import FILE, Study, address
from stages.engines import environment
from stages.results.comparing import AgainstReference
from stages.results.machine import MachineFacts
from stages.settings import Settings

REFERENCE_MS = 0.1
SAMPLES = 1000


def result(job: Job) -> RungResult | Tested:
    settings = Settings.model_validate(job.settings)
    ratio, epochs = settings.prune.ratio, settings.prune.epochs
    top1 = round(0.99 - 0.3 * ratio**2 / (1 + epochs), 3)
    if job.rung is None:
        return Tested(top1=top1, samples=SAMPLES, trained_top1=0.99)
    share = 1.0 - 0.9 * ratio
    latency = AgainstReference(
        p50_ms=share * REFERENCE_MS,
        reference_p50_ms=REFERENCE_MS,
        ratio=share,
        ratio_low=share,
        ratio_high=share,
        stable=True,
        windows=5,
    )
    return RungResult(
        rung=job.rung,
        engine="litert.int8",
        threads=1,
        timed=key_of(settings.prune.model_dump(mode="json")),
        trained=key_of(settings.train.model_dump(mode="json")),
        top1=top1,
        trained_top1=0.99,
        samples=SAMPLES,
        size_bytes=round(1e6 * share),
        latency=latency,
        seconds=0.0,
    )


class Arithmetic:
    """Does a job when it is waited for, the last started first, as workers may."""

    def __init__(self, slots: int = 1, work: Callable[[Job], object] = result) -> None:
        self.slots, self._work = slots, work
        self.started: list[Job] = []
        self._waiting: deque[Job] = deque()

    @property
    def machine(self) -> MachineFacts:
        return environment.describe()

    def __enter__(self) -> Arithmetic:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def start(self, job: Job) -> None:
        assert len(self._waiting) < self.slots
        self.started.append(job)
        self._waiting.append(job)

    def wait(self) -> Done | Lost:
        job = self._waiting.pop()
        try:
            found = self._work(job)
            return found if isinstance(found, Lost) else Done(job, found)
        except Exception as error:
            return Done(job, error=error)


KNOBS = '{"prune.ratio" = {low = 0.0, high = 0.8, step = 0.05}, "prune.criterion" = ["l1", "l2"]}'


def settings_of(*overrides: str) -> Settings:
    return config.load(None, [f"search.knobs={KNOBS}", "prune.ratio=0.4", *overrides])


def driver(folder: Path, place: Arithmetic, *overrides: str) -> Driver:
    settings = settings_of(*overrides)
    search = settings.search
    is_new = not (folder / FILE).is_file()
    count, url = len(search.objectives), address(search.storage, folder)
    study = Study(url, "s", count, search.seed, is_new)
    varied = knobs.dimensions(settings, stages_of_trial())
    return Driver(settings, varied, study, place, Quiet(), folder, folder.parent)
