"""What a trial measured at a rung, and what became of it. Optuna's storage keeps these as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from stages.results.base import Amount, Count, Measured, Sha256
from stages.results.comparing import AgainstReference

State = Literal["running", "complete", "stopped", "failed"]


UNPRUNED, WIDTHS = "prune.ratio", "prune.widths"
MET = {"prune.target_latency_ratio": None}


class Control(BaseModel):
    """The line as it is set, or that unpruned: what all trials are to beat.

    Optuna chose the values of the knobs `left_out`, which do not hold those of the settings.
    """

    model_config = ConfigDict(frozen=True)

    kind: Literal["as_set", "unpruned"]
    values: dict[str, Any]
    left_out: tuple[str, ...] = ()

    @property
    def in_words(self) -> str:
        """ "the line unpruned"."""
        name = "the line as it is set" if self.kind == "as_set" else "the line unpruned"
        return f"{name} but for {', '.join(self.left_out)}" if self.left_out else name


class RungResult(Measured):
    """One rung of one trial, on the engine that stands for it.

    top1 and trained_top1, the trained network's, are on the same validation images; of another task
    than classification they are its `metric`, as in Quality. `timed` is the same for what is timed
    alike: the same engine, fed the same way; `trained` for the same trained network. `ran` are the
    stages that ran, the others were shared or fresh. `widths` are those that a latency target came
    to, for the rungs that follow.
    """

    rung: Count
    engine: str
    threads: Count
    timed: Sha256
    trained: Sha256
    top1: float
    trained_top1: float
    samples: Count
    metric: str | None = None
    size_bytes: Count
    latency: AgainstReference
    memory_mib: Amount | None = None
    seconds: Amount
    ran: tuple[str, ...] = ()
    widths: dict[str, Count] = Field(default_factory=dict)


class Tested(Measured):
    """What the benchmark measured of a winner's engine, on the test images."""

    top1: float
    samples: Count
    trained_top1: float


class Trial(BaseModel):
    """One trial: the values of its knobs, and what came of it.

    `unpruned` says why it is the unpruned network: its ratio is too small to remove a channel.
    """

    model_config = ConfigDict(frozen=True)

    number: Count
    state: State
    values: dict[str, Any]
    rungs: tuple[RungResult, ...] = ()
    reason: str | None = None
    unpruned: str | None = None
    tested: Tested | None = None

    @property
    def in_effect(self) -> dict[str, Any]:
        """Its values, but for a ratio that removes no channel."""
        return {**self.values, UNPRUNED: 0.0} if self.unpruned else self.values

    @property
    def ran_with(self) -> dict[str, Any]:
        """What it ran with last, or goes on with.

        A latency target was met once: timed again, it would be another network at every rung.
        """
        widths = next((each.widths for each in self.rungs if each.widths), None)
        return {**self.in_effect, **MET, WIDTHS: widths} if widths else self.in_effect

    @property
    def last(self) -> RungResult | None:
        """What it measured last."""
        return self.rungs[-1] if self.rungs else None

    def at(self, rung: int) -> RungResult | None:
        """What it measured at `rung`."""
        return next((each for each in self.rungs if each.rung == rung), None)


def controls_among(trials: Iterable[Trial], controls: Sequence[Control]) -> dict[int, Control]:
    """The number of the trial that has the values of each control.

    The first of them that did not fail: a control that failed is tried again.
    """
    found: dict[int, Control] = {}
    everyone = list(trials)
    for control in controls:
        fitting = [
            each
            for each in everyone
            if each.number not in found and control.values.items() <= each.values.items()
        ]
        if fitting:
            found[min(fitting, key=lambda each: each.state == "failed").number] = control
    return found
