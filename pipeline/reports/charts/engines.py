"""Accuracy against latency, with the engines that nothing beats in both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from pipeline.reports import units, yardstick
from pipeline.reports.charts.canvas import (
    LINE,
    PANEL,
    QUIET,
    SMALL,
    STAND_IN,
    Chart,
    figure_of,
    log_scale,
    panel,
    spread,
)
from pipeline.reports.evidence import Evidence
from pipeline.reports.yardstick import Report, Row

HEIGHT = 260.0
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
    sizes = yardstick.batch_sizes(rows)
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
    return [baseline, *yardstick.benchmarked(report)]


def _points(report: Report, batch_size: int) -> Iterator[Point]:
    for place, model in enumerate(_models(report)):
        row = yardstick.fastest(model["latency"], batch_size)
        if row is not None and model["accuracy"]["top1"] is not None:
            precision = model["precision"]
            name = f"{units.runtime(model['backend'])} {units.precision(precision)}"
            colour = STAND_IN[precision if place else "trained"]
            yield Point(name if place else "trained", colour, row, 100 * model["accuracy"]["top1"])


def _pareto(points: Sequence[Point], batch_size: int) -> Chart:
    axes = panel(HEIGHT, left=48, bottom=40, top=16)
    times = [point.row["p50_ms"] for point in points]
    log_scale(axes, min(times) / 1.7, max(times) * 1.7, units.tick)
    tops = [point.top1 for point in points]
    room = max(0.1, 0.18 * (max(tops) - min(tops)))
    axes.set_ylim(min(tops) - room, max(tops) + room)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.grid()
    best = frontier(points)
    axes.step(
        [*(point.row["p50_ms"] for point in best), max(times) * 1.7],
        [*(point.top1 for point in best), best[-1].top1],
        where="post", color=QUIET, lw=1.2, ls="--", zorder=1,
    )  # fmt: skip
    _mark(axes, points, best)
    axes.set_xlabel(f"p50 of a call with {units.images(batch_size)}")
    axes.set_ylabel("accuracy, %")
    told = "; ".join(
        f"{point.name}: {units.duration(point.row['p50_ms'])}, {point.top1:.2f} %"
        for point in sorted(points, key=lambda each: each.row["p50_ms"])
    )
    beaten = " Nothing beats in both: " + ", ".join(point.name for point in best) + "."
    title = f"Accuracy against latency, batch {batch_size}"
    return Chart("engines", f"pareto-{batch_size}", title, told + "." + beaten, figure_of(axes))


def _mark(axes: Axes, points: Sequence[Point], best: Sequence[Point]) -> None:
    """Draw and name the points; names stand on the side where there is more room."""
    low, high = axes.get_ylim()
    left, right = axes.get_xlim()
    names = spread([point.top1 for point in points], (high - low) * 0.075, low, high)
    for point, place in zip(points, names, strict=True):
        row = point.row
        fill = point.colour if point in best else PANEL
        if row.get("p50_low_ms") and row.get("p50_high_ms"):
            axes.plot([row["p50_low_ms"], row["p50_high_ms"]], [point.top1] * 2, color=point.colour)
        axes.plot(row["p50_ms"], point.top1, "o", ms=8, mfc=fill, mec=point.colour, mew=2)
        is_right = row["p50_ms"] ** 2 > left * right
        beside = row["p50_ms"] * (right / left) ** (-0.035 if is_right else 0.035)
        if abs(place - point.top1) > (high - low) * 0.02:
            axes.plot([row["p50_ms"], beside], [point.top1, place], color=LINE, lw=1, zorder=1)
        axes.text(
            beside, place, point.name, va="center", ha="right" if is_right else "left",
            fontsize=SMALL, fontweight="bold" if point in best else "normal",
        )  # fmt: skip
