"""How long the calls really took: all of them, not only their percentiles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from pipeline.report.svg import LINE, STAND_IN, TEXT, Chart, figure_of, panel, row_label, rows_only
from pipeline.results import comparability, units
from pipeline.results.comparability import Report, Row
from pipeline.results.evidence import Evidence
from stages.engines.registry import EngineName

BINS = 90
SHOWN = (0.1, 99.8)
"""Percentiles between which calls are drawn; p99 is, the odd interruption of a second is not."""
MOST_PERCENT = 20.0
"""A window further from the median than this is drawn no further: the others would lie flat."""
LONGEST = 3.0
"""Times of the median beyond which nothing is drawn."""
BATCHES = 3
ROW_HEIGHT = 48.0

Model = Mapping[str, Any]
Calls = NDArray[np.float32]


def charts(report: Report, evidence: Evidence) -> Iterator[Chart]:
    """A histogram per engine for some batch sizes, and how the median moved while it was timed."""
    models = list(_models(report))
    sizes = comparability.batch_sizes(row for _, _, model in models for row in model["latency"])
    for size in sizes[: BATCHES - 1] + sizes[BATCHES - 1 :][-1:]:
        found = list(_calls(models, size, evidence.latency))
        if found:
            yield _distribution(found, size)
    batch = comparability.compared_batch(report)
    timed = [(name, colour, comparability.fastest(model["latency"], batch))
             for name, colour, model in models]  # fmt: skip
    windows = [(name, colour, row) for name, colour, row in timed if row and _has_windows(row)]
    if windows:
        yield _windows(windows)


def _models(report: Report) -> Iterator[tuple[str, str, Model]]:
    """Name, colour and measurements of the baseline and of every engine that was timed."""
    yield "trained, ONNX Runtime float32", STAND_IN["trained"], report["baseline"]
    for engine in comparability.benchmarked(report):
        name = EngineName(engine["backend"], engine["precision"]).label
        yield name, STAND_IN[engine["precision"]], engine


def _calls(
    models: Sequence[tuple[str, str, Model]], batch_size: int, samples: Mapping[str, Calls]
) -> Iterator[tuple[str, str, Row, Calls]]:
    for place, (name, colour, model) in enumerate(models):
        row = comparability.fastest(model["latency"], batch_size)
        if row is None:
            continue
        engine = f"{row['runtime']}.{row['precision']}"
        key = f"{'' if place else 'baseline.'}{engine}.b{batch_size}.t{row['threads']}"
        taken = samples.get(key)
        if taken is not None and taken.ndim == 1 and taken.size and float(taken.min()) > 0:
            yield name, colour, row, taken


def _distribution(found: Sequence[tuple[str, str, Row, Calls]], batch_size: int) -> Chart:
    """Each row against its own median, so that shape and tail of a fast engine are seen too."""
    found = sorted(found, key=lambda each: float(np.median(each[3])))
    shapes = [taken / np.median(taken) for *_, taken in found]
    ends = [np.percentile(shape, SHOWN) for shape in shapes]
    axes = panel(ROW_HEIGHT * len(found) + 54, bottom=40, top=2)
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    axes.set_xlim(max(0.0, low - 0.04), min(high + 0.04, LONGEST))
    rows_only(axes, len(found))
    for place, ((name, colour, _, taken), shape) in enumerate(zip(found, shapes, strict=True)):
        _histogram(axes, place, colour, shape)
        p50, _, p99 = _percentiles(taken)
        row_label(axes, place + 0.22, name, f"p50 {p50}, p99 {p99}")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))
    axes.set_xlabel(f"time for {units.images(batch_size)} / its median; marks: p50, p90, p99")
    told = "; ".join(f"{name}: {_told(taken)}" for name, _, _, taken in found)
    title = f"Latency of every call, batch {batch_size}"
    return Chart("latency", f"calls-{batch_size}", title, f"{told}.", figure_of(axes))


def _histogram(axes: Axes, row: int, colour: str, shape: NDArray[np.floating[Any]]) -> None:
    """Calls by time in equal steps, standing on the row's line."""
    low, high = np.percentile(shape, SHOWN)
    edges = np.linspace(low, max(min(high, LONGEST), low * 1.01), BINS)
    heights, _ = np.histogram(shape, edges)
    floor = row + 0.48
    top = floor - 0.55 * heights / max(int(heights.max()), 1)
    axes.stairs(top, edges, baseline=floor, fill=True, color=colour, alpha=0.85)
    for place in np.percentile(shape, (50, 90, 99)):
        axes.plot([place, place], [floor + 0.02, floor - 0.14], color=TEXT, lw=1.2)


def _percentiles(taken: Calls) -> list[str]:
    return [units.duration(float(each)) for each in np.percentile(taken, (50, 90, 99))]


def _told(taken: Calls) -> str:
    p50, p90, p99 = _percentiles(taken)
    return f"{taken.size:,} calls, p50 {p50}, p90 {p90}, p99 {p99}"


def _has_windows(row: Row) -> bool:
    return len(row.get("window_p50_ms") or []) > 2


def _windows(found: Sequence[tuple[str, str, Row]]) -> Chart:
    """The median of each window against the whole median: flat lines are steady timings."""
    axes = panel(ROW_HEIGHT * len(found) + 48, bottom=36, top=2)
    rows_only(axes, len(found))
    moves = [100 * (np.array(row["window_p50_ms"], float) / row["p50_ms"] - 1)
             for _, _, row in found]  # fmt: skip
    most = min(MOST_PERCENT, max(1.0, *(float(np.abs(moved).max()) for moved in moves)))
    told = []
    for place, ((name, colour, row), moved) in enumerate(zip(found, moves, strict=True)):
        middle, windows = place + 0.22, range(1, len(moved) + 1)
        axes.axhline(middle, color=LINE, lw=1)
        axes.plot(
            windows, middle - 0.22 * np.clip(moved / most, -1, 1), "-o", ms=3, color=colour, lw=1.5
        )
        note = f"{moved.min():+.1f} to {moved.max():+.1f} % {comparability.stability(row)}".rstrip()
        row_label(axes, place + 0.22, name, note)
        told.append(f"{name} {note}")
    axes.grid(visible=False)
    axes.set_xlabel("window of the measurement, in order")
    text = f"p50 of each window against that of all: {'; '.join(told)}."
    return Chart("latency", "windows", "Steadiness while it was timed", text, figure_of(axes))
