"""Which group gives up how much: measured accuracy lost against measured milliseconds saved.

1. Every group is narrowed alone to a few widths, and every block removed alone. For each, the
   accuracy on the validation images after a short fine-tune, with batch normalisation
   recalibrated (recalibrate.py), and the latency on the engine that will run, are measured
   (sensitivity.py).
2. Then the network is made smaller step by step. A step takes one group to one of its smaller
   widths or one block away: whatever loses least accuracy per millisecond saved, where those
   beyond the goal do not count. The table says what a step saves; the network that results is
   measured again, so that errors of the table do not add up; a step that does not save what the
   table promised is not taken.
3. Steps are coarse. Where the last one goes below the goal, groups and blocks get back what the
   goal leaves room for, those that lost most accuracy first.

The idea is NetAdapt's (Yang et al., ECCV 2018), with the whole network timed, not single layers:
engines fuse layers, and hide the small ones behind a fixed cost.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from types import MappingProxyType

from stages import progress
from stages.errors import ModelError
from stages.keras_graph.producers import layer_of
from stages.pruning.sensitivity import LEAST_SAVING, Narrow
from stages.pruning.stopwatch import Stopwatch
from stages.pruning.structured import WITHOUT_TARGET, Layers, Widths, removed
from stages.results.pruning import GroupWidth, PathPoint, PruningLatency, SensitivityLevel
from stages.settings import Prune

BUDGET_STEP = 0.8
"""With an accuracy budget, the latency after each round as a share of that before it."""

Whole = Mapping[Layers, Set[Layers]]
"""Groups that must have all their channels when a block goes, by the layers of the block."""


@dataclass(frozen=True)
class Waypoint:
    """A network on the way down: its widths, and its latency as a share of the trained one's."""

    widths: dict[Layers, int]
    latency_ratio: float
    predicted_ratio: float

    def to_result(self) -> PathPoint:
        """For the record, and to resume after a kill."""
        return PathPoint(
            widths=tuple(
                GroupWidth(layers=layers, channels=width) for layers, width in self.widths.items()
            ),
            latency_ratio=self.latency_ratio,
            predicted_ratio=self.predicted_ratio,
        )

    @classmethod
    def from_result(cls, point: PathPoint) -> Waypoint:
        """The inverse of `to_result`."""
        widths = {each.layers: each.channels for each in point.widths}
        return cls(widths, point.latency_ratio, point.predicted_ratio)


def descend(
    levels: Sequence[SensitivityLevel],
    narrow: Narrow,
    stopwatch: Stopwatch,
    goal: float,
    smallest_drop: float,
    whole: Whole = MappingProxyType({}),
) -> list[Waypoint]:
    """The steps of 2, until the latency is at most `goal` of the whole network's.

    The list starts with the whole network and, if `goal` is not reached, ends where no further
    step saves anything. Drops below `smallest_drop`, half of what one image makes, are equal.
    """
    path = [Waypoint({}, 1.0, 1.0)]
    while path[-1].latency_ratio > goal:
        now = path[-1]
        possible = [level for level in levels if _is_possible(level, now.widths, whole)]
        for widths in _next_widths(possible, now, smallest_drop, goal):
            (ratio,) = stopwatch.ratios([narrow(widths)])
            progress.report(f"{_difference(now.widths, widths)}, latency {ratio:.2f} x")
            # Measured, not predicted: what makes one engine faster may make another slower, because
            # kernels compute channels in blocks (decision 8).
            if ratio <= (1.0 - LEAST_SAVING) * now.latency_ratio:
                path.append(Waypoint(widths, ratio, predict(levels, widths)))
                break
        else:
            break
    return path


def give_back(
    levels: Sequence[SensitivityLevel],
    narrow: Narrow,
    stopwatch: Stopwatch,
    path: Sequence[Waypoint],
    goal: float,
) -> list[Waypoint]:
    """Step 3 for a path that reaches `goal`: its end, every group as wide as still fits.

    Points on the way that are narrower anywhere are left out: channels do not come back.
    """
    widths, ratio = dict(path[-1].widths), path[-1].latency_ratio
    standing = [level for level in levels if widths.get(level.layers) == level.width]
    for level in sorted(standing, key=lambda level: -level.accuracy_drop):
        known = {level.channels, *(x.width for x in levels if x.layers == level.layers)}
        wider = [width for width in sorted(known, reverse=True) if width > level.width]
        tried = [{**widths, level.layers: width} for width in wider]
        ratios = stopwatch.ratios([narrow(each) for each in tried])
        fitting = [pair for pair in zip(tried, ratios, strict=True) if pair[1] <= goal]
        if fitting:
            progress.report(f"{_difference(widths, fitting[0][0])}, latency {fitting[0][1]:.2f} x")
            # The widest that fits.
            widths, ratio = fitting[0]
    end = Waypoint(widths, ratio, predict(levels, widths))
    return [*(point for point in path[:-1] if _contains(point.widths, end.widths)), end]


def _contains(wide: Widths, narrow: Widths) -> bool:
    """Whether no group has more channels in `narrow`; a group without an entry has all of them."""
    return all(layers in narrow and width >= narrow[layers] for layers, width in wide.items())


def _is_possible(level: SensitivityLevel, widths: Widths, whole: Whole) -> bool:
    """Whether a step to `level` can be taken from `widths`: its layers are there, and it fits."""
    gone = {name for layers in removed(widths) for name in layers}
    is_there = not set(map(layer_of, level.layers)) <= gone
    return is_there and (level.width > 0 or not whole.get(level.layers, set()) & widths.keys())


def _next_widths(
    levels: Sequence[SensitivityLevel], now: Waypoint, smallest_drop: float, goal: float
) -> Iterator[dict[Layers, int]]:
    """What to try from the network `now`: single steps, the cheapest first, then joint ones.

    A step that brings nothing is tried again once others are taken, and where no single one
    brings anything, all groups go down together: an engine that computes blocks of 16 channels
    may only gain when two neighbours have left their block.
    """
    for step in _steps(levels, now, smallest_drop, goal):
        yield {**now.widths, step.layers: step.width}
    smaller: dict[Layers, list[int]] = {}
    for level in levels:
        # Channels only: without all of its blocks, little is left of a network.
        if 0 < level.width < now.widths.get(level.layers, level.channels):
            smaller.setdefault(level.layers, []).append(level.width)
    down = {names: sorted(widths, reverse=True) for names, widths in smaller.items()}
    for further in range(max(map(len, down.values()), default=0)):
        joint = {names: widths[min(further, len(widths) - 1)] for names, widths in down.items()}
        yield {**now.widths, **joint}


def _difference(before: Widths, after: Widths) -> str:
    changed = {names: width for names, width in after.items() if before.get(names) != width}
    return "; ".join(
        f"{', '.join(names)}: {f'{width} channels' if width else 'removed'}"
        for names, width in changed.items()
    )


def predict(levels: Sequence[SensitivityLevel], widths: Widths) -> float:
    """Latency ratio of a network by the table alone: the product of the ratios of its groups.

    A layer between two groups costs input times output channels, which a product follows.
    """
    predicted = 1.0
    for level in levels:
        if widths.get(level.layers) == level.width:
            predicted *= level.latency_ratio
    return predicted


def _steps(
    levels: Sequence[SensitivityLevel], now: Waypoint, smallest_drop: float, goal: float
) -> list[SensitivityLevel]:
    """Levels below those of the network `now`: least accuracy lost per time saved first.

    What a step saves beyond `goal` does not count: a block saves much and loses much, and where
    little is left to save it would look cheap.
    """
    standing = {
        level.layers: level for level in levels if now.widths.get(level.layers) == level.width
    }
    prices: list[tuple[float, float, SensitivityLevel]] = []
    for level in levels:
        before = standing.get(level.layers)
        if before is not None and before.width <= level.width:
            continue
        saved = 1.0 - level.latency_ratio / (before.latency_ratio if before else 1.0)
        if saved < LEAST_SAVING:
            continue
        lost = level.accuracy_drop - (before.accuracy_drop if before else 0.0)
        price = max(lost, smallest_drop) / min(saved, 1.0 - goal / now.latency_ratio)
        prices.append((price, -saved, level))
    return [level for *_, level in sorted(prices, key=lambda each: each[:2])]


def goals(path: Sequence[Waypoint], settings: Prune) -> list[float]:
    """The latency ratios to stop at for a fine-tune, in falling order.

    Without an accuracy budget `prune.rounds`, each taking the same share of what is left. With
    one, steps of BUDGET_STEP: any may be the last that the accuracy allows.
    """
    lowest = settings.target_latency_ratio or min(point.latency_ratio for point in path)
    if settings.max_accuracy_drop is None:
        return [lowest ** (number / settings.rounds) for number in range(1, settings.rounds + 1)]
    steps = max(1, math.ceil(math.log(lowest) / math.log(BUDGET_STEP)))
    return [*(BUDGET_STEP**number for number in range(1, steps)), lowest]


def check_reached(path: Sequence[Waypoint], goal: float, target: str) -> None:
    """Raises ModelError where the path ends above `goal`, or no step saves anything."""
    if len(path) == 1:
        raise ModelError(
            f"pruning saves no latency on {target}: no group of layers, narrowed alone, makes the "
            f"network faster by {LEAST_SAVING:.0%} or more",
            "use another prune.target, a smaller prune.channel_multiple, or prune.ratio without a "
            "target",
        )
    lowest = min(point.latency_ratio for point in path)
    if lowest > goal:
        raise ModelError(
            f"prune.target_latency_ratio {goal:g} cannot be met on {target}: with every group as "
            f"narrow as helps, the network still takes {lowest:.2f} of the trained one's time",
            f"use --set prune.target_latency_ratio={min(0.99, lowest + 0.02):.2f} or more, a "
            "smaller prune.channel_multiple, or another prune.target",
        )


def check_narrowed(
    end: Waypoint, levels: Sequence[SensitivityLevel], goal: float, target: str
) -> None:
    """Raises ModelError for a network with all its channels that is timed as fast as the goal.

    The whole network takes its own time: whatever was timed was not it, or not in quiet.
    """
    whole = {level.layers: level.channels for level in levels}
    if all(end.widths.get(layers, channels) == channels for layers, channels in whole.items()):
        raise ModelError(
            f"on {target} the network with all its channels was timed at {end.latency_ratio:.2f} "
            f"of its own latency, as if prune.target_latency_ratio {goal:g} took no pruning",
            "run it again on a quiet machine, or use a lower prune.target_latency_ratio",
        )


def missed(latency: PruningLatency, target: str, goal: float | None) -> str | None:
    """That the network, timed once more after its fine-tune, takes longer than `goal` of the
    trained one's time; None where that cannot be told. A sentence without a full stop.
    """
    if goal is None or latency.measured_ratio <= (1.0 + LEAST_SAVING) * goal:
        return None
    return (
        f"timed once more after the fine-tune, the network takes {latency.measured_ratio:.2f} of "
        f"the trained one's time on {target}, more than prune.target_latency_ratio {goal:g}"
    )


def refuse_budget(first: Waypoint, budget: float, drop: float, target: str, words: str) -> None:
    """Raises the ModelError for an accuracy budget that is spent too early."""
    raise ModelError(
        f"prune.max_accuracy_drop {budget:g} is spent too early: at {first.latency_ratio:.2f} of "
        f"the trained latency on {target} {words} on the validation images has "
        f"fallen by {drop:.2f} points after the fine-tune",
        # Rounded up: a little less would be refused again.
        f"use --set prune.max_accuracy_drop={math.ceil(100 * drop) / 100:.2f}, a higher "
        "prune.target_latency_ratio, "
        f"more prune.epochs, or {WITHOUT_TARGET} and set prune.ratio=0 to leave the model unpruned",
    )


def milestones(path: Sequence[Waypoint], falling: Sequence[float]) -> list[Waypoint]:
    """For each goal the first point that reaches it, each point once; the last if none does."""
    chosen: list[Waypoint] = []
    for goal in falling:
        point = next((point for point in path if point.latency_ratio <= goal), path[-1])
        if point.widths and point not in chosen:
            chosen.append(point)
    return chosen
