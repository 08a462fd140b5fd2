"""Which group gives up how much: measured accuracy lost against measured milliseconds saved.

1. Every group is narrowed alone to a few widths. For each, the accuracy on the validation images
   without any fine-tune, and the latency on the engine that will run, are measured.
2. Then the network is narrowed step by step. A step takes one group to one of its smaller widths:
   the one that loses least accuracy per millisecond saved. The table says what a step saves; the
   network that results is measured again, so that errors of the table do not add up; a step that
   does not hold what the table promised is not taken.
3. Steps are coarse. Where the last one goes below the goal, groups get back what the goal leaves
   room for, those that lost most accuracy first.

The idea is NetAdapt's (Yang et al., ECCV 2018), with the whole network timed, not single layers:
engines fuse layers, and hide the small ones behind a fixed cost.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from stages import progress
from stages.errors import ModelError
from stages.pruning.latency import Stopwatch
from stages.pruning.structured import Layers, Prunable, Widths
from stages.settings import Prune

LEVELS = (0.125, 0.25, 0.5, 0.75)
"""Shares of a group's channels that are tried."""

LEAST_SAVING = 0.02
"""A step that saves less of the latency than that saves nothing that can be measured."""

BUDGET_STEP = 0.8
"""With an accuracy budget every round takes the latency down to so much of what it was."""

Narrow = Callable[[Widths], keras.Model]
Accuracy = Callable[[keras.Model], float]


@dataclass(frozen=True)
class Level:
    """What one group alone costs and saves at one width."""

    layers: Layers
    channels: int
    width: int
    accuracy_drop: float
    latency_ratio: float


@dataclass(frozen=True)
class Point:
    """A network on the way down: its widths, and its latency as a share of the whole one's."""

    widths: dict[Layers, int]
    latency_ratio: float
    predicted_ratio: float


def sensitivity(
    found: Sequence[Prunable],
    narrow: Narrow,
    accuracy: Accuracy,
    stopwatch: Stopwatch,
    known: Sequence[Level] = (),
) -> Iterator[list[Level]]:
    """The table of step 1, group by group; groups that rounding leaves whole are not in it.

    Groups of which `known` has levels already are left out.
    """
    whole = accuracy(narrow({}))
    seen = {level.layers for level in known}
    for done, group in enumerate(found):
        widths = sorted({group.narrowed(level) for level in LEVELS} - {group.channels})
        if group.layers in seen or not widths:
            continue
        progress.report(f"sensitivity of {', '.join(group.layers)}", done, len(found))
        models = [narrow({group.layers: width}) for width in widths]
        drops = [whole - accuracy(model) for model in models]
        yield [
            Level(group.layers, group.channels, width, drop, ratio)
            for width, drop, ratio in zip(widths, drops, stopwatch.ratios(models), strict=True)
        ]


def descend(
    levels: Sequence[Level],
    narrow: Narrow,
    stopwatch: Stopwatch,
    goal: float,
    smallest_drop: float,
) -> list[Point]:
    """The steps of 2, until the latency is at most `goal` of the whole network's.

    The list begins with the whole network and ends where no step saves anything any more, if
    `goal` is not reached. Drops below `smallest_drop`, half of what one image makes, are equal.
    """
    path = [Point({}, 1.0, 1.0)]
    while path[-1].latency_ratio > goal:
        now = path[-1]
        for widths in _next_widths(levels, now, smallest_drop):
            (ratio,) = stopwatch.ratios([narrow(widths)])
            progress.report(f"{_difference(now.widths, widths)}, latency {ratio:.2f} x")
            if ratio <= (1.0 - LEAST_SAVING) * now.latency_ratio:
                path.append(Point(widths, ratio, predict(levels, widths)))
                break
        else:
            break
    return path


def give_back(
    levels: Sequence[Level],
    narrow: Narrow,
    stopwatch: Stopwatch,
    path: Sequence[Point],
    goal: float,
) -> list[Point]:
    """Step 3 for a path that reaches `goal`: its end, every group as wide as still fits.

    Points on the way that are narrower anywhere are left out: channels do not come back.
    """
    widths, ratio = dict(path[-1].widths), path[-1].latency_ratio
    standing = [level for level in levels if widths.get(level.layers) == level.width]
    for level in sorted(standing, key=lambda level: -level.accuracy_drop):
        ladder = {level.channels, *(x.width for x in levels if x.layers == level.layers)}
        wider = [width for width in sorted(ladder, reverse=True) if width > level.width]
        tried = [{**widths, level.layers: width} for width in wider]
        ratios = stopwatch.ratios([narrow(each) for each in tried])
        fitting = [pair for pair in zip(tried, ratios, strict=True) if pair[1] <= goal]
        if fitting:
            progress.report(f"{_difference(widths, fitting[0][0])}, latency {fitting[0][1]:.2f} x")
            widths, ratio = fitting[0]
    end = Point(widths, ratio, predict(levels, widths))
    return [*(point for point in path[:-1] if _contains(point.widths, end.widths)), end]


def _contains(wide: Widths, narrow: Widths) -> bool:
    """Whether no group has more channels in `narrow`; one that is not named has all of them."""
    return all(layers in narrow and width >= narrow[layers] for layers, width in wide.items())


def _next_widths(
    levels: Sequence[Level], now: Point, smallest_drop: float
) -> Iterator[dict[Layers, int]]:
    """What to try from the network `now`: single steps, the cheapest first, then joint ones.

    A step that brings nothing is tried again once others are taken, and where no single one
    brings anything, all groups go down together: an engine that computes blocks of 16 channels
    may only gain when two neighbours have left their block.
    """
    for step in _steps(levels, now, smallest_drop):
        yield {**now.widths, step.layers: step.width}
    ladders: dict[Layers, list[int]] = {}
    for level in levels:
        if level.width < now.widths.get(level.layers, level.channels):
            ladders.setdefault(level.layers, []).append(level.width)
    for further in range(max(map(len, ladders.values()), default=0)):
        down = {names: sorted(ladder)[::-1] for names, ladder in ladders.items()}
        joint = {names: ladder[min(further, len(ladder) - 1)] for names, ladder in down.items()}
        yield {**now.widths, **joint}


def _difference(before: Widths, after: Widths) -> str:
    changed = {names: width for names, width in after.items() if before.get(names) != width}
    return "; ".join(f"{', '.join(names)}: {width} channels" for names, width in changed.items())


def predict(levels: Sequence[Level], widths: Widths) -> float:
    """Latency ratio of a network by the table alone: the product of the ratios of its groups.

    A layer between two groups costs input times output channels, which a product follows.
    """
    predicted = 1.0
    for level in levels:
        if widths.get(level.layers) == level.width:
            predicted *= level.latency_ratio
    return predicted


def _steps(levels: Sequence[Level], now: Point, smallest_drop: float) -> list[Level]:
    """Levels below those of the network `now`: least accuracy lost per time saved first."""
    standing = {
        level.layers: level for level in levels if now.widths.get(level.layers) == level.width
    }
    prices: list[tuple[float, Level]] = []
    for level in levels:
        before = standing.get(level.layers)
        if before is not None and before.width <= level.width:
            continue
        saved = 1.0 - level.latency_ratio / (before.latency_ratio if before else 1.0)
        if saved < LEAST_SAVING:
            continue
        lost = level.accuracy_drop - (before.accuracy_drop if before else 0.0)
        prices.append((max(lost, smallest_drop) / saved, level))
    return [level for _, level in sorted(prices, key=lambda pair: pair[0])]


def goals(path: Sequence[Point], knobs: Prune) -> list[float]:
    """The latency ratios to stop at for a fine-tune, in falling order.

    Without a budget so many rounds, each taking the same share of what is left. With one, steps
    of BUDGET_STEP, for any may be the last that the accuracy allows.
    """
    lowest = knobs.target_latency_ratio or min(point.latency_ratio for point in path)
    if knobs.max_accuracy_drop is None:
        return [lowest ** (number / knobs.rounds) for number in range(1, knobs.rounds + 1)]
    steps = max(1, math.ceil(math.log(lowest) / math.log(BUDGET_STEP)))
    return [*(BUDGET_STEP**number for number in range(1, steps)), lowest]


def check_some(levels: Sequence[Level]) -> None:
    """Raises ModelError where rounding leaves all groups whole."""
    if not levels:
        raise ModelError(
            "prune.round_to leaves every group of layers as wide as it is",
            "use a smaller prune.round_to",
        )


def check_reached(path: Sequence[Point], goal: float, target: str) -> None:
    """Raises ModelError where the path ends above `goal`, or no step saves anything."""
    if len(path) == 1:
        raise ModelError(
            f"pruning saves no latency on {target}: no group of layers, narrowed alone, makes the "
            f"network faster by {LEAST_SAVING:.0%} or more",
            "use another prune.target, a smaller prune.round_to, or prune.ratio without a target",
        )
    lowest = min(point.latency_ratio for point in path)
    if lowest > goal:
        raise ModelError(
            f"prune.target_latency_ratio {goal:g} cannot be met on {target}: with every group as "
            f"narrow as helps, the network still takes {lowest:.2f} of the trained one's time",
            f"use --set prune.target_latency_ratio={min(0.99, lowest + 0.02):.2f} or more, a "
            "smaller prune.round_to, or another prune.target",
        )


def refuse_budget(first: Point, budget: float, drop: float, target: str) -> None:
    """Raises the ModelError for an accuracy budget that is spent too early."""
    raise ModelError(
        f"prune.max_accuracy_drop {budget:g} is spent too early: at {first.latency_ratio:.2f} of "
        f"the trained latency on {target} the accuracy on the validation images has fallen by "
        f"{drop:.2f} points after the fine-tune",
        f"use --set prune.max_accuracy_drop={drop:.2f}, a higher prune.target_latency_ratio, "
        "more prune.epochs, or prune.ratio=0 to leave the model as it is",
    )


def milestones(path: Sequence[Point], falling: Sequence[float]) -> list[Point]:
    """For each goal the first point that reaches it, each point once; the last if none does."""
    chosen: list[Point] = []
    for goal in falling:
        point = next((point for point in path if point.latency_ratio <= goal), path[-1])
        if point.widths and point not in chosen:
            chosen.append(point)
    return chosen


def to_rows(levels: Sequence[Level], reference_ms: float) -> list[dict[str, Any]]:
    """The table for the record; `latency_ms` is the whole network with this group narrowed."""
    return [
        {
            **dataclasses.asdict(level),
            "layers": list(level.layers),
            "latency_ms": level.latency_ratio * reference_ms,
        }
        for level in levels
    ]


def levels_to_json(levels: Sequence[Level]) -> Any:
    """To go on after a kill."""
    return [dataclasses.asdict(level) for level in levels]


def levels_from_json(rows: Any) -> list[Level]:
    """The inverse of `levels_to_json`."""
    return [Level(**{**row, "layers": tuple(row["layers"])}) for row in rows or []]


def path_to_json(path: Sequence[Point]) -> Any:
    """To go on after a kill."""
    return [
        {
            **dataclasses.asdict(point),
            "widths": [
                {"layers": list(layers), "channels": channels}
                for layers, channels in point.widths.items()
            ],
        }
        for point in path
    ]


def path_from_json(rows: Any) -> list[Point]:
    """The inverse of `path_to_json`."""
    return [
        Point(**{**row, "widths": {tuple(w["layers"]): w["channels"] for w in row["widths"]}})
        for row in rows
    ]
