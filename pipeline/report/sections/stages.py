"""The line: what every step from the trained model to the engine brought."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pipeline.report.svg import (
    LINE,
    QUIET,
    SMALL,
    STAND_IN,
    Chart,
    above_bar,
    figure_of,
    limit_ticks,
    panel,
)
from pipeline.report.tables import Table
from pipeline.results import accuracy_claims, comparability, line_start, speedup_steps, units
from pipeline.results.model import EngineReport, Report, ReportRow, StageReport
from pipeline.results.speedup_steps import Step
from stages.engines.registry import EngineName
from stages.numerics import proportions
from stages.results.base import LatencyRow, Quality

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pipeline.results.evidence import Evidence

FEWER = "*"
HEIGHT = 220.0


def tables(report: Report) -> Iterator[Table]:
    """The model of each stage."""
    yield stage_table(report)


def stage_table(report: Report) -> Table:
    """What each stage cost and brought."""
    batch = comparability.compared_batch(report)
    timing = "p50 ms" if batch is None else f"p50 ms, batch {batch}"
    return Table(
        "The line",
        "Each stage's model against the trained one",
        ("stage", metric(report), "change", timing, "runtime", "speed-up", "size", "parameters"),
        tuple(_stage_cells(report, stage, batch) for stage in report.stages),
        tuple(_notes(report, batch)),
        shown_in=("terminal", "md", "html"),
    )


def _stage_cells(report: Report, stage: StageReport, batch: int | None) -> tuple[str, ...]:
    name = f"{stage.stage} (old)" if stage.outdated else stage.stage
    found = comparability.chosen_engine(report)
    if stage.stage == "benchmark" and found is not None:
        return (name, *_engine_cells(report, *found))
    row = comparability.stage_row(stage, batch)
    return (
        name,
        accuracy_cell(report, stage.accuracy),
        units.points(comparability.stage_change(report, stage)),
        units.milliseconds(row.p50_ms if row else None),
        runtime_of(row),
        units.times(comparability.stage_speedup(report, stage)),
        units.size(stage.model.size_bytes),
        units.count(stage.model.parameters),
    )


def _engine_cells(report: Report, engine: EngineReport, row: ReportRow) -> tuple[str, ...]:
    """The benchmark's line: the engine that the run stands for."""
    return (
        accuracy_cell(report, engine.accuracy),
        units.points(comparability.engine_change(report, engine)),
        units.milliseconds(row.p50_ms),
        engine.name.words,
        units.times(comparability.engine_speedup(report, engine, row.batch_size)),
        units.size(engine.size_bytes),
        units.UNKNOWN,
    )


def runtime_of(row: LatencyRow | None) -> str:
    """ "onnxruntime int8"."""
    return EngineName(row.runtime, row.precision).words if row else units.UNKNOWN


def metric(report: Report) -> str:
    """What models are judged by: "accuracy", or the metric of another task."""
    known = [
        *(each.accuracy for each in report.stages),
        *(each.accuracy for each in report.engines),
    ]
    return next((each.words for each in known if each.score is not None), "accuracy")


def accuracy_cell(report: Report, accuracy: Quality) -> str:
    """The score, marked if it rests on another number of images than the trained model's."""
    return units.percent(accuracy.score) + (FEWER if _is_on_fewer(report, accuracy) else "")


def _is_on_fewer(report: Report, accuracy: Quality) -> bool:
    train = report.stage("train")
    trained = train.accuracy if train else report.baseline.accuracy
    if accuracy.score is None or trained.score is None:
        return False
    return accuracy.samples != trained.samples


def _notes(report: Report, batch: int | None) -> Iterator[str]:
    yield from (f"{stage.stage}: {note}." for stage in report.stages for note in stage.notes)
    if changes := list(_changes(report)):
        yield (
            "Changes in points with their 95 % intervals, from the answers of the engines to every "
            f"image: {', '.join(changes)}."
        )
    rows = [comparability.stage_row(stage, batch) for stage in report.stages]
    if any(row and row.runtime == "tf.function" for row in rows):
        yield "tf.function: TensorFlow's own compiled graph, compared only with itself."
    if cached := [stage.stage for stage in report.stages if stage.state == "cached"]:
        yield f"From an earlier run: {', '.join(cached)}."
    if outdated := [stage.stage for stage in report.stages if stage.outdated]:
        yield f"Made from older files (old): {', '.join(outdated)}. Run: {line_start.rerun(report)}"
    shown = [stage.accuracy for stage in report.stages]
    shown += [engine.accuracy for engine in report.engines]
    if any(_is_on_fewer(report, accuracy) for accuracy in shown):
        yield f"{FEWER} on other images than the trained model, so no change is given."


def _changes(report: Report) -> Iterator[str]:
    """ "prune -0.28 (-1.54 to +0.90)" of every line whose images were compared one by one."""
    chosen = comparability.chosen_engine(report)
    shown = {
        stage: (stage_report.accuracy, engine)
        for stage, engine in comparability.STAGE_ENGINES.items()
        if (stage_report := report.stage(stage)) and not stage_report.outdated
    }
    if chosen:
        shown["benchmark"] = chosen[0].accuracy, chosen[0].name
    for stage, (accuracy, engine) in shown.items():
        if found := accuracy_claims.interval(report, accuracy, engine):
            low, high = units.points(found.low), units.points(found.high)
            yield f"{stage} {units.points(found.estimate)} ({low} to {high})"


def charts(report: Report, evidence: Evidence) -> Iterator[Chart]:
    """Latency, size and accuracy step by step, and the parameters of every stage."""
    way = speedup_steps.steps(report)
    if len(way) > 1:
        yield _latency(way)
        if all(step.size_bytes for step in way):
            yield _size(way)
        if all(step.accuracy.top1 is not None and step.accuracy.samples for step in way):
            yield _accuracy(way)
    yield from _parameters(report)


def _latency(way: Sequence[Step]) -> Chart:
    values = [step.row.p50_ms for step in way]
    words = [units.duration(value) for value in values]
    title = f"Latency, p50 at batch {way[0].row.batch_size}"
    return _waterfall("latency-steps", title, way, values, words)


def _size(way: Sequence[Step]) -> Chart:
    values = [float(step.size_bytes or 0) for step in way]
    words = [units.size(value) for value in values]
    return _waterfall("size-steps", "Size of the engine file", way, values, words)


def _waterfall(
    name: str, title: str, way: Sequence[Step], values: Sequence[float], words: Sequence[str]
) -> Chart:
    """A bar per step; above it, light, what the step took away from the bar before."""
    axes = _bars_only()
    for place, (step, value, word) in enumerate(zip(way, values, words, strict=True)):
        before = values[place - 1] if place else value
        if value < before:
            axes.bar(place, before - value, 0.62, value, color=LINE, alpha=0.45)
        axes.bar(place, value, 0.62, color=_colour(place, step))
        note = f"\n{units.times(before / value)}" if place else ""
        above_bar(axes, place, max(before, value), f"{word}{note}")
    for place, value in enumerate(values[:-1]):
        axes.plot([place + 0.31, place + 0.69], [value, value], color=QUIET, lw=1, ls=":")
    axes.set_ylim(0, max(values) * 1.32)
    _name_steps(axes, way)
    parts = "; ".join(
        f"{step.name} {word}" + (f" ({units.times(before / value)})" if place else "")
        for place, (step, word, value, before) in enumerate(
            zip(way, words, values, [values[0], *values], strict=False)
        )
    )
    return Chart(name, title, f"{parts}.", figure_of(axes))


def _bars_only(bottom: float = 38) -> Axes:
    """Axes whose bars carry their values, so that no vertical axis is needed."""
    axes = panel(HEIGHT, bottom=bottom, top=14)
    axes.spines["left"].set_visible(False)
    axes.yaxis.set_visible(False)
    return axes


def _accuracy(way: Sequence[Step]) -> Chart:
    axes = panel(HEIGHT, left=44, bottom=38, top=14)
    intervals = [_interval(step.accuracy) for step in way]
    axes.plot(range(len(way)), [share for share, _, _ in intervals], color=LINE, lw=1.5, zorder=1)
    for place, (step, (share, low, high)) in enumerate(zip(way, intervals, strict=True)):
        axes.errorbar(
            place, share, [[share - low], [high - share]], fmt="o", ms=9,
            color=_colour(place, step), lw=1.5, capsize=4,
        )  # fmt: skip
        axes.annotate(
            f"{share:.2f} %", (place, share), (12, 0), textcoords="offset points", va="center",
            fontsize=11,
        )  # fmt: skip
    limit_ticks(axes.yaxis, 5)
    axes.grid(axis="y")
    _name_steps(axes, way)
    axes.set_xlim(-0.45, len(way) - 0.35)
    parts = "; ".join(
        f"{step.name} {share:.2f} % ({low:.2f} to {high:.2f})"
        for step, (share, low, high) in zip(way, intervals, strict=True)
    )
    text = f"{parts}. The bars are 95 % intervals over the test images."
    return Chart("accuracy-steps", "Accuracy, with 95 % interval", text, figure_of(axes))


def _interval(accuracy: Quality) -> tuple[float, float, float]:
    """Top-1 accuracy and its 95 % interval, in percent."""
    share, samples = accuracy.top1 or 0.0, accuracy.samples or 0
    interval = proportions.wilson(round(share * samples), samples)
    return 100 * share, 100 * interval.low, 100 * interval.high


def _parameters(report: Report) -> Iterator[Chart]:
    """Parameters of the stages that hand on a model of their own."""
    shown = (
        ("train", "trained", "trained"),
        ("prune", "pruned", "fp32"),
        ("quantize", "quantized", "int8"),
    )
    known = [
        (words, colour, stage.model.parameters)
        for name, words, colour in shown
        if (stage := report.stage(name)) and stage.model.parameters
    ]
    if len(known) < 2:
        return
    axes = _bars_only(bottom=24)
    for place, (_, colour, count) in enumerate(known):
        axes.bar(place, count, 0.62, color=STAND_IN[colour])
        above_bar(axes, place, count, units.count(count))
    axes.set_ylim(0, max(count for _, _, count in known) * 1.15)
    axes.set_xlim(-0.55, len(known) - 0.45)
    axes.set_xticks(range(len(known)), [words for words, _, _ in known], color=QUIET)
    axes.tick_params(axis="x", length=0)
    text = "; ".join(f"{words} {units.count(count)}" for words, _, count in known)
    yield Chart("parameters", "Parameters by stage", f"{text}.", figure_of(axes))


def _colour(place: int, step: Step) -> str:
    return STAND_IN["trained" if place == 0 else step.precision]


def _name_steps(axes: Axes, way: Sequence[Step]) -> None:
    names = [step.name.replace(" ", "\n", 1) for step in way]
    axes.set_xticks(range(len(way)), names, fontsize=SMALL)
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.55, len(way) - 0.45)
