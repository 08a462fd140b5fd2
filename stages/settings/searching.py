"""What `pipeline search` may vary, what it looks for, and how long."""

import math
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from stages.settings.base import (
    Count,
    Distinct,
    Positive,
    Section,
    Seed,
    Share,
    named_engine,
    usable_path,
)

Objective = Literal["accuracy", "p50", "size", "memory", "energy"]
Number = int | float
Limit = Annotated[float, Field(gt=0.0)]

KNOB = "a list of values, or a range as in {low = 0.1, high = 0.8}"
"""Read after "expected", as below: see pipeline/config.py."""


class Knob(Section):
    """The values that a setting may take: a list of them, or a range.

    A range has `low` and `high`, both included, and may have `step`, from low on, or be `log`:
    then a factor counts as much at its low end as at its high end.
    """

    values: tuple[Any, ...] = ()
    low: Number | None = None
    high: Number | None = None
    step: Number | None = None
    log: bool = False

    @model_validator(mode="after")
    def _holds_something(self) -> "Knob":
        low, high, step = self.low, self.high, self.step
        if self.values:
            if (low, high, step, self.log) != (None, None, None, False):
                raise PydanticCustomError("knob", KNOB)
            return self
        if low is None or high is None:
            raise PydanticCustomError("knob", KNOB)
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise PydanticCustomError("range", "a range whose low is below its high")
        if step is not None and not (0 < step <= high - low and not self.log):
            words = "a step above 0 that fits into the range, and none where log = true"
            raise PydanticCustomError("step", words)
        if self.log and low <= 0:
            raise PydanticCustomError("log", "a low above 0 where log = true")
        return self


def _listed(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        if not value:
            raise PydanticCustomError("knob", f"at least one value: {KNOB}")
        return {"values": value}
    if not isinstance(value, (dict, Knob)):
        raise PydanticCustomError("knob", KNOB)
    return value


def _storage(text: str) -> str:
    return text if "://" in text else usable_path(text)


KNOBS = {
    "prune.ratio": Knob(low=0.0, high=0.95, step=0.05),
    "prune.layers": Knob(values=("convolutions", "all")),
    "prune.criterion": Knob(values=("l2", "taylor")),
    "prune.channel_multiple": Knob(values=(4, 8, 16)),
    "prune.learning_rate": Knob(low=5e-4, high=4e-3, log=True),
    "prune.distillation": Knob(values=(0.0, 0.5, 0.9)),
    "quantize.calibration": Knob(values=("auto", "max", "mse")),
}
"""What mattered most on the networks measured here, down to widths at which accuracy falls; the
engine and its threads `build` chooses."""


DEFAULT_TRIALS = 30


class Search(Section):
    """What `pipeline search` may vary, what it looks for, and how long it looks."""

    knobs: dict[str, Annotated[Knob, BeforeValidator(_listed)]] = Field(
        default_factory=lambda: dict(KNOBS)
    )
    """Settings that trials vary, by dotted name: a list of values, or a range with `low` and
    `high`, and with `step`, or with `log` for rates."""
    objectives: Annotated[tuple[Objective, ...], Distinct, Field(min_length=1)] = (
        "accuracy",
        "p50",
        "size",
    )
    """What is better: accuracy on the validation images, median latency, the engine's size, the
    memory that the engine takes, or the energy of a call where a GPU tells its power."""
    engine: Annotated[str, named_engine("best")] = "best"
    """The engine that a trial is measured on, as in `litert.int8`; `best` is the one that `build`
    chooses for `batch_size`."""
    batch_size: Positive = 1
    """Images per call, for latency, memory and energy."""
    max_accuracy_loss: Annotated[float, Field(ge=0.0)] | None = None
    """Budget: largest loss of accuracy against the trained network (the best one, where settings of
    `train` vary), on the validation images, in percentage points."""
    max_p50_ms: Limit | None = None
    """Budget: longest median latency, in milliseconds."""
    max_size_mb: Limit | None = None
    """Budget: largest engine, with all files that it is exported with, in megabytes (1 MB is
    1,000,000 bytes)."""
    trials: Positive | None = None
    """Trials in all, those of an earlier call among them; not set: as many as `hours` allow, and 30
    where neither is set."""
    hours: Limit | None = None
    """No trial begins, and none goes on to another rung, after so many hours of this call."""
    workers: Positive = 1
    """Trials at the same time, with --cluster on each node, in processes of their own. Several on
    the same cores disturb each other's timings: see docs/search.md."""
    rungs: Annotated[tuple[Annotated[float, Field(ge=0.0, le=1.0)], ...], Field(min_length=1)] = (
        0.0,
        0.25,
        1.0,
    )
    """Shares of the epochs of the fine-tunes that a trial gets, one after the other: 0 recalibrates
    without training, 1 is the whole. The last must be 1."""
    kept_share: Annotated[Share, Field(gt=0.0)] = 0.5
    """A trial goes on to the next rung if it is among this share of the best at its own."""
    winners: Count = 5
    """Trials of the Pareto front that are benchmarked at the end, and so see the test images."""
    storage: Annotated[str, AfterValidator(_storage)] | None = None
    """Where Optuna keeps the trials: a database as in `postgresql://host/name`; not set: a file
    in the artifact folder."""
    seed: Seed = 0
    """Decides which values are tried."""

    @property
    def most_trials(self) -> float:
        """At which number of trials the search ends; infinite where its hours end it."""
        if self.trials is not None:
            return self.trials
        return DEFAULT_TRIALS if self.hours is None else math.inf

    @field_validator("rungs")
    @classmethod
    def _rises_to_one(cls, rungs: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        if list(rungs) != sorted(set(rungs)) or rungs[-1] != 1.0:
            raise PydanticCustomError("rungs", "shares that rise to 1, as in [0.0, 0.25, 1.0]")
        return rungs
