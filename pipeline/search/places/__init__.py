"""Where jobs run: one file per place.

    local    processes of this machine
    ray      the nodes of a Ray cluster

A place takes a job while one of its slots is free, runs `job.run_job` with it somewhere, and says
how that ended, in the order in which they end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from pipeline.search.job import Job
from pipeline.search.model import RungResult, Tested
from stages.results.machine import MachineFacts


@dataclass(frozen=True)
class Said:
    """A job is at this stage now."""

    job: Job
    stage: str


@dataclass(frozen=True)
class Done:
    """How a job ended: with a result, or with an error."""

    job: Job
    result: RungResult | Tested | None = None
    error: Exception | None = None


@dataclass(frozen=True)
class Lost:
    """Where a job ran is gone, through no fault that is known of the job."""

    job: Job
    reason: str


class Place(Protocol):
    """A context manager; what still runs at its end is ended."""

    @property
    def slots(self) -> int:
        """Jobs at a time. Raises MachineError where there is nowhere left to run one."""

    @property
    def machine(self) -> MachineFacts:
        """What engines are timed on, known once the place is entered; of many, all are alike."""

    def __enter__(self) -> Place: ...

    def __exit__(self, *_: object) -> None: ...

    def start(self, job: Job) -> None:
        """Begin with a job; there is a free slot."""

    def wait(self) -> Said | Done | Lost:
        """What happens next to one of the jobs that were started."""
