"""What a search looks for: costs to minimise, and by how much a result misses the budgets."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.search.model import RungResult
from pipeline.search.rungs import Standing
from stages.errors import SettingsError
from stages.settings import Settings
from stages.settings.searching import Objective, Search

BYTES_PER_MB = 1e6
SMALLEST_LOSS = 0.1
"""Points that a missed `max_accuracy_loss` is divided by at least: it may be 0."""

NOT_MEASURED: dict[Objective, tuple[str, str]] = {
    "memory": (
        "the process in which it runs alone for that ended early",
        "if all trials say so, leave it out of search.objectives",
    ),
    "energy": (
        "no power of a GPU was read while the engine was timed",
        "name an engine that runs on one with search.engine, or leave it out of search.objectives",
    ),
}
"""Why, and what to do: of the objectives that a measurement may not give."""


@dataclass(frozen=True)
class Yardstick:
    """What all trials are compared with: the reference as it was timed over all of them."""

    reference_ms: float
    trained_top1: float

    @classmethod
    def of(cls, results: Iterable[RungResult]) -> Yardstick:
        """From all results so far, of which there must be one."""
        seen = list(results)
        return cls(
            statistics.median(each.latency.reference_p50_ms for each in seen),
            max(each.trained_top1 for each in seen),
        )

    def p50_ms(self, result: RungResult) -> float:
        """Its median latency as if the reference had taken as long as it did at the median."""
        return result.latency.ratio * self.reference_ms

    def loss_points(self, result: RungResult) -> float:
        """Percentage points lost against the trained network, on the same validation images."""
        return 100 * (self.trained_top1 - result.top1)


@dataclass(frozen=True)
class Miss:
    """A budget that a result misses: by `amount` in its unit, and by `share` of it."""

    budget: str
    limit: float
    value: float
    unit: str

    @property
    def share(self) -> float:
        """How far above the limit, as a share of it."""
        return (self.value - self.limit) / max(self.limit, SMALLEST_LOSS * (self.unit == "points"))

    @property
    def in_words(self) -> str:
        """ "search.max_p50_ms 0.01: 0.0123 ms, 0.0023 too much"."""
        over = f"{self.value - self.limit:.3g}"
        return f"search.{self.budget} {self.limit:g}: {self.value:.3g} {self.unit}, {over} too much"


def measured(result: RungResult) -> dict[Objective, float]:
    """The costs that were measured, the less the better."""
    found: dict[Objective, float | None] = {
        "accuracy": -result.top1,
        "p50": result.latency.ratio,
        "size": float(result.size_bytes),
        # In whole MiB: two runs of the same engine differ by some pages, 0.05 MiB.
        "memory": None if result.memory_mib is None else float(round(result.memory_mib)),
        "energy": result.latency.millijoules,
    }
    return {name: value for name, value in found.items() if value is not None}


def is_measured(result: RungResult, wanted: Sequence[Objective]) -> bool:
    """Whether `costs` are known."""
    return measured(result).keys() >= set(wanted)


def costs(result: RungResult, wanted: Sequence[Objective]) -> tuple[float, ...]:
    """One number per objective, the less the better. Raises SettingsError for one not measured."""
    found = measured(result)
    for name in wanted:
        if name not in found:
            why, fix = NOT_MEASURED[name]
            raise SettingsError(
                f"search.objectives: {name!r} was not measured on {result.engine}: {why}", fix
            )
    return tuple(found[name] for name in wanted)


def misses(result: RungResult, search: Search, yardstick: Yardstick, is_last: bool) -> list[Miss]:
    """The budgets that a result misses; accuracy counts at the last rung only, trained in full."""
    measured = [
        ("max_p50_ms", search.max_p50_ms, yardstick.p50_ms(result), "ms"),
        ("max_size_mb", search.max_size_mb, result.size_bytes / BYTES_PER_MB, "MB"),
    ]
    if is_last:
        loss = yardstick.loss_points(result)
        measured.append(("max_accuracy_loss", search.max_accuracy_loss, loss, "points"))
    return [
        Miss(budget, limit, value, unit)
        for budget, limit, value, unit in measured
        # A loss of images over their number is no exact fraction.
        if limit is not None and value > limit + 1e-9
    ]


def standing(
    result: RungResult, settings: Settings, yardstick: Yardstick, is_last: bool
) -> Standing:
    """What a result is judged by at its rung."""
    missed = misses(result, settings.search, yardstick, is_last)
    return Standing(costs(result, settings.search.objectives), sum(each.share for each in missed))
