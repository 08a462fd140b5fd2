"""Accuracy against latency, with the engines that nothing beats in both."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from pipeline.report.svg import (
    PANEL,
    QUIET,
    SMALL,
    STAND_IN,
    WIDTH,
    Chart,
    figure_of,
    log_scale,
    panel,
    spread,
)
from pipeline.results import comparability, units
from pipeline.results.comparability import Report, Row
from pipeline.results.evidence import Evidence
from stages.engines.registry import EngineName

PLOT, ROW = 240.0, 17.0
"""Height of the plot and of each row below it."""
BATCHES = 3
"""Figures for the smallest, the largest and one batch size between."""


@dataclass(frozen=True)
class Point:
    """A model at its fastest number of threads; accuracy in percent."""

    name: str
    colour: str
    row: Row
    top1: float


def charts(report: Report, evidence: Evidence) -> Iterator[Chart]:
    """One figure per batch size."""
    rows = [row for each in _models(report) for row in each["latency"]]
    sizes = comparability.batch_sizes(rows)
    for size in sizes[: BATCHES - 1] + sizes[BATCHES - 1 :][-1:]:
        points = list(_points(report, size))
        if len(points) > 1:
            yield _pareto(points, size)


def frontier(points: Sequence[Point]) -> list[Point]:
    """The points that no other is both as fast as and as accurate as, fastest first."""
    best: list[Point] = []
    for point in sorted(points, key=lambda each: (each.row["p50_ms"], -each.top1)):
        if not best or point.top1 > best[-1].top1:
            best.append(point)
    return best


def _models(report: Report) -> list[Mapping[str, Any]]:
    baseline = {**report["baseline"], "backend": "onnxruntime", "precision": "fp32"}
    return [baseline, *comparability.benchmarked(report)]


def _points(report: Report, batch_size: int) -> Iterator[Point]:
    for place, model in enumerate(_models(report)):
        row = comparability.fastest(model["latency"], batch_size)
        if row is not None and model["accuracy"]["top1"] is not None:
            precision = model["precision"]
            name = EngineName(model["backend"], precision).label
            colour = STAND_IN[precision if place else "trained"]
            yield Point(name if place else "trained", colour, row, 100 * model["accuracy"]["top1"])


def _pareto(points: Sequence[Point], batch_size: int) -> Chart:
    """Points with numbers, and below them what the numbers mean: names would not fit between."""
    points = sorted(points, key=lambda each: (each.row["p50_ms"], -each.top1))
    key = ROW * len(points) + 8
    axes = panel(PLOT + key, left=48, bottom=40 + key, top=12)
    times, tops = [point.row["p50_ms"] for point in points], [point.top1 for point in points]
    log_scale(axes, min(times) / 1.4, max(times) * 1.4, units.tick)
    room = max(0.1, 0.2 * (max(tops) - min(tops)))
    axes.set_ylim(min(tops) - room, max(tops) + room)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.grid()
    best = frontier(points)
    axes.step(
        [*(point.row["p50_ms"] for point in best), max(times) * 1.4],
        [*(point.top1 for point in best), best[-1].top1],
        where="post", color=QUIET, lw=1.2, ls="--", zorder=1,
    )  # fmt: skip
    _mark(axes, points, best)
    _explain(axes, points, best)
    axes.set_xlabel(f"p50 of a call with {units.images(batch_size)}")
    axes.set_ylabel("accuracy, %")
    told = "; ".join(
        f"{point.name}: {units.duration(point.row['p50_ms'])}, {point.top1:.2f} %"
        for point in points
    )
    beaten = " Nothing beats in both: " + ", ".join(point.name for point in best) + "."
    title = f"Accuracy against latency, batch {batch_size}"
    return Chart("engines", f"pareto-{batch_size}", title, told + "." + beaten, figure_of(axes))


def _mark(axes: Axes, points: Sequence[Point], best: Sequence[Point]) -> None:
    """Draw the points; the numbers of neighbours move apart."""
    low, high = axes.get_ylim()
    left, right = axes.get_xlim()
    for point in points:
        row, fill = point.row, point.colour if point in best else PANEL
        if row.get("p50_low_ms") and row.get("p50_high_ms"):
            axes.plot([row["p50_low_ms"], row["p50_high_ms"]], [point.top1] * 2, color=point.colour)
        axes.plot(row["p50_ms"], point.top1, "o", ms=8, mfc=fill, mec=point.colour, mew=2)
    span = math.log(right / left)
    for level in _levels(points, 0.12 * (high - low)):
        across = [math.log(points[index].row["p50_ms"] / left) / span for index in level]
        height = max(points[index].top1 for index in level) + 0.045 * (high - low)
        for index, place in zip(level, spread(across, 0.055, 0.0, 1.0), strict=True):
            axes.text(
                left * math.exp(place * span), height, str(index + 1), ha="center", va="bottom",
                fontsize=SMALL, fontweight=_weight(points[index], best),
            )  # fmt: skip


def _levels(points: Sequence[Point], gap: float) -> list[list[int]]:
    """The points' places, grouped where their accuracies are less than `gap` apart."""
    levels: list[list[int]] = []
    for index in sorted(range(len(points)), key=lambda each: points[each].top1):
        if levels and points[index].top1 - points[levels[-1][-1]].top1 < gap:
            levels[-1].append(index)
        else:
            levels.append([index])
    return levels


def _explain(axes: Axes, points: Sequence[Point], best: Sequence[Point]) -> None:
    """Number, name, latency and accuracy of every point below the plot."""
    figure = figure_of(axes)
    height = PLOT + ROW * len(points) + 8
    for index, point in enumerate(points):
        y = (ROW * (len(points) - index) - ROW / 2) / height
        fill = point.colour if point in best else PANEL
        dot = Line2D([56 / WIDTH], [y], marker="o", ms=6, mfc=fill, mec=point.colour, mew=1.6)
        figure.add_artist(dot)
        for x, text, align in (
            (44, str(index + 1), "right"),
            (66, point.name, "left"),
            (WIDTH - 70, units.duration(point.row["p50_ms"]), "right"),
            (WIDTH - 10, f"{point.top1:.2f} %", "right"),
        ):
            figure.text(
                x / WIDTH, y, text, ha=align, va="center", fontsize=SMALL,
                fontweight=_weight(point, best),
            )  # fmt: skip


def _weight(point: Point, best: Sequence[Point]) -> str:
    return "bold" if point in best else "normal"
