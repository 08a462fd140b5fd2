"""The engines: accuracy against latency, the choice among them, and those that did not run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.report.sections import precision
from pipeline.report.sections.latency import interval_cell
from pipeline.report.sections.stages import accuracy_cell, metric
from pipeline.report.svg import (
    PANEL,
    QUIET,
    SMALL,
    STAND_IN,
    WIDTH,
    Chart,
    dot,
    figure_of,
    limit_ticks,
    log_scale,
    panel,
    spread,
)
from pipeline.report.tables import NotRun, Table
from pipeline.results import accuracy_claims, comparability, engine_choice, units
from pipeline.results.model import EngineReport, Report
from stages.engines.registry import ENGINES, EngineName
from stages.results.base import LatencyRow
from stages.results.conversion import ConvertDetails
from stages.results.engines import BenchmarkDetails, BuildDetails, Candidate, Chosen

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pipeline.results.evidence import Evidence

STATES = {"ran": "ran", "built_not_run": "built, not run", "unavailable": "unavailable"}
SHAKY = "!"

PLOT, ROW = 240.0, 17.0
"""Height of the plot and of each row below it."""
BATCHES = 3
"""Figures for the smallest, the largest and one batch size between."""


WHY_LARGER = {
    "cpu": "of so few weights, bytes save less than the scales in the graph take",
    "gpu": "it holds compiled kernels, which weigh more than so few weights",
}
"""By device: why INT8 made a file larger, which 8 bits for 32 cannot do."""

COUNTED = {
    "roc_auc": "{lost} moved to the wrong side of the threshold, {won} to the right one",
    "mean_average_precision": "more labels wrong in {lost}, fewer in {won}",
    "r2": "the error grew in {lost} and shrank in {won}, by more than 0.1 standard deviations of "
    "the targets",
    "mean_iou": "the IoU fell in {lost} and rose in {won}, by more than 1 point",
    "mean_over_outputs": "the answers of all outputs together became worse in {lost} and better in "
    "{won}, by more than the tasks tolerate",
}
"""By metric, what lost and won images are: with the TOLERANCE of its task in stages/tasks. A metric
of the user's says nothing of a single image."""


def tables(report: Report) -> Iterator[Table]:
    """All engines, and what build timed to choose among them."""
    yield engine_table(report)
    yield choice_table(report)


def engine_table(report: Report) -> Table:
    """Every engine that was built, with p50 at each batch size."""
    engines = [engine for engine in report.engines if engine.state != "unavailable"]
    sizes = comparability.batch_sizes(row for engine in engines for row in engine.latency)
    rate = f"images/s, batch {sizes[-1]}" if sizes else "images/s"
    rows = tuple(cells for engine in engines for cells in _engine_cells(report, engine, sizes))
    return Table(
        "Engines",
        "Accuracy and latency of the engine files themselves",
        (
            "engine",
            "state",
            metric(report),
            *(f"p50 ms, batch {size}" for size in sizes),
            rate,
            "size",
        ),
        rows,
        tuple(_notes(report, engines)),
        tuple(not_run(report)),
        shown_in=("terminal", "md", "html"),
    )


def _engine_cells(
    report: Report, engine: EngineReport, sizes: Sequence[int]
) -> Iterator[tuple[str, ...]]:
    """One line per thread count."""
    threads = sorted({row.threads or 1 for row in engine.latency}) or [1]
    for count in threads:
        own = [row for row in engine.latency if (row.threads or 1) == count]
        fastest = [comparability.fastest(own, size) for size in sizes]
        words = "1 thread" if count == 1 else f"{count} threads"
        yield (
            engine.name.words + (f", {words}" if len(threads) > 1 else ""),
            STATES[engine.state],
            accuracy_cell(report, engine.accuracy),
            *map(_median, fastest),
            _rate(fastest[-1] if fastest else None),
            units.size(engine.size_bytes),
        )


def _median(row: LatencyRow | None) -> str:
    if row is None:
        return units.UNKNOWN
    return units.milliseconds(row.p50_ms) + (SHAKY if row.stable is False else "")


def _rate(row: LatencyRow | None) -> str:
    if row is None:
        return units.UNKNOWN
    return units.count(row.images_per_second) + (SHAKY if row.stable is False else "")


def _notes(report: Report, engines: Sequence[EngineReport]) -> Iterator[str]:
    rows = [row for engine in engines for row in engine.latency]
    if any(row.measured_in == "build" for row in rows):
        yield "Timed briefly by build: the benchmark measures at length."
    if any(row.stable is False for row in rows):
        yield f"{SHAKY} UNSTABLE: the median is not certain."
    convert = report.details(ConvertDetails)
    if engines and convert and convert.output:
        yield f"Engines return {convert.output}."
    if engines and convert and convert.outputs:
        each = (f"{name} ({kind})" for name, kind in convert.outputs.items())
        yield f"Engines return {', '.join(each)}."
    yield from precision.in_float(report)
    yield from precision.in_float32(report)
    yield from precision.requantized(report)
    yield from precision.moving(report)
    yield from _larger_in_int8(engines)
    if choice := comparability.current_choice(report):
        yield engine_choice.sentence(choice)
    yield from image_by_image(report)


def _larger_in_int8(engines: Sequence[EngineReport]) -> Iterator[str]:
    """Where an INT8 file is not the smaller one, and why."""
    sizes = {engine.name: engine.size_bytes for engine in engines if engine.size_bytes}
    for name, size_bytes in sizes.items():
        float32 = sizes.get(EngineName(name.backend, "fp32"))
        if name.precision == "int8" and float32 and size_bytes > float32:
            yield (
                f"{name.words} is a larger file than float32 ({units.size(size_bytes)}, "
                f"{units.size(float32)}): {WHY_LARGER[ENGINES[name.backend].device]}."
            )


def image_by_image(report: Report) -> Iterator[str]:
    """How many answers of the engine that the run stands for became worse, and what that cost."""
    benchmark = report.details(BenchmarkDetails)
    diff = benchmark.changed if benchmark and report.is_current("benchmark") else None
    if diff is None:
        return
    name = EngineName.parse(diff.engine)
    engine = report.engine(name)
    found = accuracy_claims.interval(report, engine.accuracy, name) if engine else None
    change = (
        f"{units.points(found.estimate)} points, {accuracy_claims.in_words(found)}" if found else ""
    )
    start = f"{name.words} against the trained model, image by image: "
    if engine and engine.accuracy.metric:
        if by_metric := COUNTED.get(engine.accuracy.metric):
            yield f"{start}{by_metric.format(lost=f'{diff.lost:,}', won=f'{diff.won:,}')}."
        if change:
            yield f"{name.words} against the trained model, {engine.accuracy.words}: {change}."
        return
    counts = f"{diff.lost:,} lost, {diff.won:,} won, {diff.other:,} wrong in another way"
    yield f"{start}{counts}{change and f': {change}'}."


def not_run(report: Report) -> Iterator[NotRun]:
    """The engines that did not run, one entry per reason."""
    groups: dict[tuple[str, str, str, str], list[str]] = {}
    for engine in report.engines:
        if engine.state != "ran":
            why = engine.reason or "no reason was recorded", engine.fix or ""
            groups.setdefault((engine.backend, engine.state, *why), []).append(engine.precision)
    for (backend, state, reason, fix), precisions in groups.items():
        yield NotRun(f"{backend} {', '.join(precisions)}", STATES[state], reason, fix)


def choice_table(report: Report) -> Table:
    """What build measured to choose an engine per batch size, the chosen ones marked."""
    details = report.details(BuildDetails)
    choice = details.choice if details else None
    budget = engine_choice.budget(choice) if choice else "any loss"
    return Table(
        "Choice of the engine",
        f"Fastest engine per batch size, allowed {budget}; timed briefly by build",
        ("engine", "batch", "threads", "p50 ms", "95 % of p50", metric(report), "budget", "choice"),
        tuple(
            _choice_cells(candidate, choice.chosen.get(candidate.batch_size))
            for candidate in choice.table
        )
        if choice
        else (),
    )


def _choice_cells(candidate: Candidate, chosen: Chosen | None) -> tuple[str, ...]:
    timed = candidate.engine, candidate.threads
    is_chosen = chosen is not None and (chosen.engine, chosen.threads) == timed
    steady = "" if candidate.stable else " UNSTABLE"
    budget = {None: units.UNKNOWN, True: "within", False: "too far off"}
    return (
        EngineName.parse(candidate.engine).words,
        units.count(candidate.batch_size),
        units.count(candidate.threads),
        units.milliseconds(candidate.p50_ms) + steady,
        interval_cell(candidate.p50_low_ms, candidate.p50_high_ms),
        units.percent(candidate.top1),
        budget[candidate.within_budget],
        "chosen" if is_chosen else "",
    )


@dataclass(frozen=True)
class Mark:
    """A model in the plot, at its fastest number of threads; accuracy in percent."""

    name: str
    colour: str
    row: LatencyRow
    top1: float


def charts(report: Report, evidence: Evidence) -> Iterator[Chart]:
    """Accuracy against latency, one figure per batch size."""
    rows = list(report.baseline.latency)
    rows += [row for engine in comparability.benchmarked(report) for row in engine.latency]
    sizes = comparability.batch_sizes(rows)
    for size in sizes[: BATCHES - 1] + sizes[BATCHES - 1 :][-1:]:
        marks = list(_marks(report, size))
        if len(marks) > 1:
            yield _pareto(marks, size, metric(report))


def _marks(report: Report, batch_size: int) -> Iterator[Mark]:
    models = [("trained", STAND_IN["trained"], report.baseline.latency, report.baseline.accuracy)]
    models += [
        (engine.name.label, STAND_IN[engine.precision], engine.latency, engine.accuracy)
        for engine in comparability.benchmarked(report)
    ]
    for name, colour, latency, accuracy in models:
        row = comparability.fastest(latency, batch_size)
        if row is not None and accuracy.score is not None:
            yield Mark(name, colour, row, 100 * accuracy.score)


def frontier(marks: Sequence[Mark]) -> list[Mark]:
    """The Pareto frontier: no other is both as fast and as accurate. Fastest first."""
    best: list[Mark] = []
    for mark in sorted(marks, key=lambda each: (each.row.p50_ms, -each.top1)):
        if not best or mark.top1 > best[-1].top1:
            best.append(mark)
    return best


def _pareto(marks: Sequence[Mark], batch_size: int, words: str) -> Chart:
    """Numbered marks, and below them what the numbers mean: names would not fit between."""
    marks = sorted(marks, key=lambda each: (each.row.p50_ms, -each.top1))
    key = ROW * len(marks) + 8
    axes = panel(PLOT + key, left=48, bottom=40 + key, top=12)
    times, tops = [mark.row.p50_ms for mark in marks], [mark.top1 for mark in marks]
    log_scale(axes, min(times) / 1.4, max(times) * 1.4, units.tick)
    room = max(0.1, 0.2 * (max(tops) - min(tops)))
    axes.set_ylim(min(tops) - room, max(tops) + room)
    limit_ticks(axes.yaxis, 5)
    axes.grid()
    best = frontier(marks)
    axes.step(
        [*(mark.row.p50_ms for mark in best), max(times) * 1.4],
        [*(mark.top1 for mark in best), best[-1].top1],
        where="post", color=QUIET, lw=1.2, ls="--", zorder=1,
    )  # fmt: skip
    _draw_marks(axes, marks, best)
    _explain(axes, marks, best)
    axes.set_xlabel(f"p50 of a call with {units.images(batch_size)}")
    axes.set_ylabel(f"{words}, %")
    parts = "; ".join(
        f"{mark.name}: {units.duration(mark.row.p50_ms)}, {mark.top1:.2f} %" for mark in marks
    )
    text = f"{parts}. On the Pareto frontier: {', '.join(mark.name for mark in best)}."
    title = f"{words[0].upper()}{words[1:]} against latency, batch {batch_size}"
    return Chart(f"pareto-{batch_size}", title, text, figure_of(axes))


def _draw_marks(axes: Axes, marks: Sequence[Mark], best: Sequence[Mark]) -> None:
    """Draw the marks with their intervals; the numbers of neighbours move apart."""
    low, high = axes.get_ylim()
    left, right = axes.get_xlim()
    for mark in marks:
        row, fill = mark.row, mark.colour if mark in best else PANEL
        if row.p50_low_ms and row.p50_high_ms:
            axes.plot([row.p50_low_ms, row.p50_high_ms], [mark.top1] * 2, color=mark.colour)
        axes.plot(row.p50_ms, mark.top1, "o", ms=8, mfc=fill, mec=mark.colour, mew=2)
    span = math.log(right / left)
    for level in _levels(marks, 0.12 * (high - low)):
        across = [math.log(marks[index].row.p50_ms / left) / span for index in level]
        height = max(marks[index].top1 for index in level) + 0.045 * (high - low)
        for index, place in zip(level, spread(across, 0.055, 0.0, 1.0), strict=True):
            axes.text(
                left * math.exp(place * span), height, str(index + 1), ha="center", va="bottom",
                fontsize=SMALL, fontweight=_weight(marks[index], best),
            )  # fmt: skip


def _levels(marks: Sequence[Mark], gap: float) -> list[list[int]]:
    """The marks' places, grouped where their accuracies are less than `gap` apart."""
    levels: list[list[int]] = []
    for index in sorted(range(len(marks)), key=lambda each: marks[each].top1):
        if levels and marks[index].top1 - marks[levels[-1][-1]].top1 < gap:
            levels[-1].append(index)
        else:
            levels.append([index])
    return levels


def _explain(axes: Axes, marks: Sequence[Mark], best: Sequence[Mark]) -> None:
    """Number, name, latency and accuracy of every mark below the plot."""
    figure = figure_of(axes)
    height = PLOT + ROW * len(marks) + 8
    for index, mark in enumerate(marks):
        y = (ROW * (len(marks) - index) - ROW / 2) / height
        dot(figure, 56 / WIDTH, y, mark.colour if mark in best else PANEL, mark.colour)
        for x, text, align in (
            (44, str(index + 1), "right"),
            (66, mark.name, "left"),
            (WIDTH - 70, units.duration(mark.row.p50_ms), "right"),
            (WIDTH - 10, f"{mark.top1:.2f} %", "right"),
        ):
            figure.text(
                x / WIDTH, y, text, ha=align, va="center", fontsize=SMALL,
                fontweight=_weight(mark, best),
            )  # fmt: skip


def _weight(mark: Mark, best: Sequence[Mark]) -> str:
    return "bold" if mark in best else "normal"
