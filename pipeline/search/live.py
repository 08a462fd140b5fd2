"""What a search shows while it runs: a line per rung, and on a terminal a table below them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pipeline.core.display import console, has_bars
from pipeline.results import units
from pipeline.search.job import Job
from pipeline.search.model import Trial
from stages.measurement.alone import WAITS

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table


class Quiet:
    """Nothing."""

    def __enter__(self) -> Quiet:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def started(self, job: Job) -> None:
        pass

    def said(self, job: Job, stage: str) -> None:
        pass

    def ended(self, trial: Trial, words: str) -> None:
        pass


class Lines(Quiet):
    """A line for each rung that is done, and each wait for the machine: for pipes and log files."""

    def said(self, job: Job, stage: str) -> None:
        if stage == WAITS:
            print(f"trial {job.trial:<3}  {stage}", flush=True)

    def ended(self, trial: Trial, words: str) -> None:
        print(line(trial, words), flush=True)


class Moving(Quiet):
    """The same above a table of what is under way."""

    def __init__(self) -> None:
        self._console = console()
        self._running: dict[int, tuple[Job, str, float]] = {}
        self._live: Live | None = None

    def __enter__(self) -> Moving:
        from rich.live import Live

        self._live = Live(get_renderable=self._table, console=self._console, transient=True)
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def started(self, job: Job) -> None:
        self._running[job.trial] = (job, "begins", time.monotonic())

    def said(self, job: Job, stage: str) -> None:
        self._running[job.trial] = (job, stage, self._running[job.trial][2])

    def ended(self, trial: Trial, words: str) -> None:
        from rich.text import Text

        self._running.pop(trial.number, None)
        self._console.print(Text(line(trial, words)))

    def _table(self) -> Table:
        from rich import box
        from rich.table import Table

        table = Table(box=box.SIMPLE_HEAD, show_edge=False)
        for name in ("trial", "rung", "stage", "for"):
            table.add_column(name)
        for number, (job, stage, since) in sorted(self._running.items()):
            rung = "test" if job.rung is None else str(job.rung)
            table.add_row(str(number), rung, stage, f"{time.monotonic() - since:.0f} s")
        return table


def display(is_quiet: bool = False) -> Quiet:
    """What suits stdout, or what the user asked for."""
    if is_quiet:
        return Quiet()
    return Moving() if has_bars() else Lines()


def line(trial: Trial, words: str) -> str:
    """ "trial 3   rung 1  97.22 %  0.213 of the reference  litert.int8  goes on"."""
    parts = [f"trial {trial.number:<3}"]
    if trial.last:
        latency = trial.last.latency
        parts += [
            f"rung {trial.last.rung}",
            units.percent(trial.last.top1),
            f"{latency.ratio:.3f} of the reference{'' if latency.stable else ' (UNSTABLE)'}",
            trial.last.engine,
        ]
    return "  ".join([*parts, words])
