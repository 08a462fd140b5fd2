"""What a trial measured at a rung, and what became of it. Optuna's storage keeps these as JSON."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from stages.results.base import Amount, Count, Measured, Share
from stages.results.comparing import AgainstReference

State = Literal["running", "complete", "stopped", "failed"]


class RungResult(Measured):
    """One rung of one trial, on the engine that stands for it.

    top1 and trained_top1, the trained network's, are on the same validation images; `ran` are the
    stages that ran, the others were shared or fresh.
    """

    rung: Count
    engine: str
    threads: Count
    top1: Share
    trained_top1: Share
    samples: Count
    size_bytes: Count
    latency: AgainstReference
    memory_mib: Amount | None = None
    seconds: Amount
    ran: tuple[str, ...] = ()


class Tested(Measured):
    """What the benchmark measured of a winner's engine, on the test images."""

    top1: Share
    samples: Count
    trained_top1: Share
    p50_ms: Amount | None = None


class Trial(BaseModel):
    """One trial: the values of its knobs, and what came of it."""

    model_config = ConfigDict(frozen=True)

    number: Count
    state: State
    values: dict[str, Any]
    rungs: tuple[RungResult, ...] = ()
    reason: str | None = None
    tested: Tested | None = None

    @property
    def last(self) -> RungResult | None:
        """What it measured last."""
        return self.rungs[-1] if self.rungs else None

    def at(self, rung: int) -> RungResult | None:
        """What it measured at `rung`."""
        return next((each for each in self.rungs if each.rung == rung), None)
