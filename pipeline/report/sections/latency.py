"""Everything that was timed: percentiles, every single call, and how steady the machine was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from pipeline.report.sections.floor import floor_table
from pipeline.report.sections.stages import runtime_of
from pipeline.report.svg import LINE, STAND_IN, TEXT, Chart, figure_of, panel, row_label, rows_only
from pipeline.report.tables import Table
from pipeline.results import comparability, units
from pipeline.results.model import Report, ReportRow
from stages.results.base import P99_SAMPLES, LatencyRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from pipeline.results.evidence import Evidence

ENGINE_STAGES = ("build", "benchmark")
"""Stages whose own rows are those of one of their engines."""

BINS = 90
SHOWN = (0.1, 99.8)
"""Percentiles between which calls are drawn; p99 is, the odd interruption of a second is not."""
MOST_PERCENT = 20.0
"""Windows further than this from the median are clipped, so that they do not flatten the plot."""
LONGEST = 3.0
"""Calls longer than this many medians are clipped."""
BATCHES = 3
ROW_HEIGHT = 48.0


def tables(report: Report) -> Iterator[Table]:
    """All latencies, and the least that they could be."""
    yield latency_table(report)
    yield floor_table(report)


def latency_table(report: Report) -> Table:
    """Every latency that was measured; columns that no row has a value for are left out."""
    timed = list(_all_rows(report))
    cells = {
        name: [write(row) for _, row in timed]
        for name, write in COLUMNS.items()
        if name not in OPTIONAL or any(write(row) != units.UNKNOWN for _, row in timed)
    }
    return Table(
        "Latency",
        "Everything that was timed",
        ("model", *cells),
        tuple(
            (f"{name}: {runtime_of(row)}", *(column[place] for column in cells.values()))
            for place, (name, row) in enumerate(timed)
        ),
        tuple(_notes([row for _, row in timed])),
        folded="with charts",
    )


def _all_rows(report: Report) -> Iterator[tuple[str, ReportRow]]:
    for stage in report.stages:
        if stage.stage not in ENGINE_STAGES:
            own = (row for row in stage.latency if row.measured_in == stage.stage)
            yield from ((stage.stage, row) for row in own)
    yield from (("baseline", row) for row in report.baseline.latency)
    for engine in report.engines:
        yield from (("engine", row) for row in engine.latency)


def _notes(rows: Sequence[LatencyRow]) -> Iterator[str]:
    if any(row.has_indicative_p99 for row in rows):
        yield f"p99 from fewer than {P99_SAMPLES:,} samples is indicative only."
    if any(row.stable is False for row in rows):
        yield "UNSTABLE: the median is not certain; measure again on a quiet machine."


def interval_cell(low_ms: float | None, high_ms: float | None) -> str:
    """ "0.0079 to 0.0083"."""
    if low_ms is None or high_ms is None:
        return units.UNKNOWN
    return f"{units.milliseconds(low_ms)} to {units.milliseconds(high_ms)}"


def _part(name: str, row: LatencyRow) -> str:
    return units.milliseconds((row.parts_ms or {}).get(name))


PARTS = {"to GPU ms": "h2d_ms", "compute ms": "compute_ms", "from GPU ms": "d2h_ms"}
PARTS |= {"without copies ms": "resident_ms"}
"""Heading -> part of a call on a GPU."""

COLUMNS: dict[str, Callable[[LatencyRow], str]] = {
    "batch": lambda row: units.count(row.batch_size),
    "threads": lambda row: units.count(row.threads),
    "p50 ms": lambda row: units.milliseconds(row.p50_ms),
    "95 % of p50": lambda row: interval_cell(row.p50_low_ms, row.p50_high_ms),
    "timing": lambda row: comparability.stability(row) or units.UNKNOWN,
    "p90 ms": lambda row: units.milliseconds(row.p90_ms),
    "p99 ms": lambda row: (
        units.milliseconds(row.p99_ms) + (" (indicative)" if row.has_indicative_p99 else "")
    ),
    "mean ms": lambda row: units.milliseconds(row.mean_ms),
    "images/s": lambda row: units.count(row.images_per_second),
    "saturated images/s": lambda row: units.count(row.saturated_images_per_second),
    "streams": lambda row: units.count(row.saturating_streams),
    **{heading: partial(_part, name) for heading, name in PARTS.items()},
    "peak MiB": lambda row: units.count(row.peak_memory_mib),
    "samples": lambda row: units.count(row.samples),
}
OPTIONAL = ("95 % of p50", "timing", "saturated images/s", "streams", *PARTS, "peak MiB")
"""Columns that older records lack, or machines without a GPU."""


@dataclass(frozen=True)
class Timed:
    """A model that the benchmark timed; `key` names its calls in latency.npz."""

    name: str
    colour: str
    latency: tuple[ReportRow, ...]
    key: str


@dataclass(frozen=True)
class Calls:
    """All calls of one model at one batch size: durations in ms, the others in medians.

    `beyond` calls took longer than what is drawn.
    """

    model: Timed
    count: int
    beyond: int
    p50: float
    p90: float
    p99: float
    low: float
    high: float
    edges: Sequence[float]
    heights: Sequence[int]


def charts(report: Report, evidence: Evidence) -> Iterator[Chart]:
    """A histogram per engine for some batch sizes, and how the median moved while it was timed."""
    models = list(_timed(report))
    sizes = comparability.batch_sizes(row for model in models for row in model.latency)
    for size in sizes[: BATCHES - 1] + sizes[BATCHES - 1 :][-1:]:
        if calls := list(_calls(models, size, evidence.latency)):
            yield _distribution(calls, size)
    batch = comparability.compared_batch(report)
    rows = [(model, comparability.fastest(model.latency, batch)) for model in models]
    windows = [(model, row) for model, row in rows if row and len(row.window_p50_ms or ()) > 2]
    if windows:
        yield _windows(windows)


def _timed(report: Report) -> Iterator[Timed]:
    """The baseline and every engine that the benchmark timed."""
    name, colour = "trained, ONNX Runtime float32", STAND_IN["trained"]
    yield Timed(name, colour, report.baseline.latency, "baseline.onnxruntime.fp32")
    for engine in comparability.benchmarked(report):
        colour = STAND_IN[engine.precision]
        yield Timed(engine.name.label, colour, engine.latency, str(engine.name))


def _calls(
    models: Sequence[Timed], batch_size: int, arrays: Mapping[str, NDArray[Any]]
) -> Iterator[Calls]:
    for model in models:
        row = comparability.fastest(model.latency, batch_size)
        taken = arrays.get(f"{model.key}.b{batch_size}.t{row.threads}") if row else None
        if taken is not None and taken.ndim == 1 and taken.size and float(taken.min()) > 0:
            yield _summarize(model, taken)


def _summarize(model: Timed, taken: NDArray[Any]) -> Calls:
    import numpy as np

    p50, p90, p99 = np.percentile(taken, (50, 90, 99)).tolist()
    shape = taken / np.median(taken)
    low, high = np.percentile(shape, SHOWN).tolist()
    edges = np.linspace(low, max(min(high, LONGEST), low * 1.01), BINS)
    heights, _ = np.histogram(shape, edges)
    beyond = int(np.count_nonzero(shape > edges[-1]))
    return Calls(
        model, taken.size, beyond, p50, p90, p99, low, high, edges.tolist(), heights.tolist()
    )


def _distribution(found: Sequence[Calls], batch_size: int) -> Chart:
    """Each row against its own median, so that shape and tail of a fast engine are seen too."""
    found = sorted(found, key=lambda calls: calls.p50)
    axes = panel(ROW_HEIGHT * len(found) + 54, bottom=40, top=2)
    low, high = min(calls.low for calls in found), max(calls.high for calls in found)
    axes.set_xlim(max(0.0, low - 0.04), min(high + 0.04, LONGEST))
    rows_only(axes, len(found))
    for place, calls in enumerate(found):
        _histogram(axes, place, calls)
        note = f"p50 {units.duration(calls.p50)}, p99 {units.duration(calls.p99)}"
        row_label(axes, place + 0.22, calls.model.name, f"{note}, {calls.beyond:,} beyond")
    axes.xaxis.set_major_formatter("{x:g}x")
    axes.set_xlabel(f"time for {units.images(batch_size)} / its median; marks: p50, p90, p99")
    parts = "; ".join(
        f"{calls.model.name}: {calls.count:,} calls, p50 {units.duration(calls.p50)}, "
        f"p90 {units.duration(calls.p90)}, p99 {units.duration(calls.p99)}, "
        f"{calls.beyond:,} longer than is drawn"
        for calls in found
    )
    title = f"Latency of every call, batch {batch_size}"
    return Chart(f"calls-{batch_size}", title, f"{parts}.", figure_of(axes))


def _histogram(axes: Axes, row: int, calls: Calls) -> None:
    """Calls by time in equal steps, standing on the row's line."""
    floor, most = row + 0.48, max(*calls.heights, 1)
    tops = [floor - 0.55 * height / most for height in calls.heights]
    axes.stairs(
        tops, calls.edges, baseline=floor, fill=True, color=calls.model.colour, alpha=0.85
    )  # fmt: skip
    for percentile in (calls.p50, calls.p90, calls.p99):
        place = percentile / calls.p50
        axes.plot([place, place], [floor + 0.02, floor - 0.14], color=TEXT, lw=1.2)


def _windows(found: Sequence[tuple[Timed, LatencyRow]]) -> Chart:
    """The median of each window against the whole median: flat lines are steady timings."""
    axes = panel(ROW_HEIGHT * len(found) + 48, bottom=36, top=2)
    rows_only(axes, len(found))
    moves = [
        [100 * (window / row.p50_ms - 1) for window in row.window_p50_ms or ()] for _, row in found
    ]
    most = min(MOST_PERCENT, max([1.0, *(abs(move) for moved in moves for move in moved)]))
    parts = []
    for place, ((model, row), moved) in enumerate(zip(found, moves, strict=True)):
        middle = place + 0.22
        axes.axhline(middle, color=LINE, lw=1)
        heights = [middle - 0.22 * max(-1.0, min(1.0, move / most)) for move in moved]
        axes.plot(range(1, len(moved) + 1), heights, "-o", ms=3, color=model.colour, lw=1.5)
        stability = comparability.stability(row)
        note = f"{min(moved):+.1f} to {max(moved):+.1f} % {stability}".rstrip()
        row_label(axes, middle, model.name, note)
        parts.append(f"{model.name} {note}")
    axes.grid(visible=False)
    axes.set_xlabel("window of the measurement, in order")
    text = f"p50 of each window against that of all: {'; '.join(parts)}."
    return Chart("windows", "Steadiness while it was timed", text, figure_of(axes))
