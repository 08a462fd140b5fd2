"""The line as a picture: what every step from the trained model to the engine bought."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from pipeline.report.svg import LINE, QUIET, SMALL, STAND_IN, Chart, above_bar, figure_of, panel
from pipeline.results import comparability, speedup_steps, units
from pipeline.results.comparability import Report
from pipeline.results.evidence import Evidence
from pipeline.results.speedup_steps import Step
from stages.numerics import proportions

HEIGHT = 220.0


def charts(report: Report, evidence: Evidence) -> Iterator[Chart]:
    """Latency, size and accuracy step by step, and the parameters of every stage."""
    way = speedup_steps.steps(report)
    if len(way) > 1:
        yield _latency(way)
        if all(step.size_bytes for step in way):
            yield _size(way)
        if all(step.accuracy["top1"] is not None for step in way):
            yield _accuracy(way)
    yield from _parameters(report)


def _latency(way: Sequence[Step]) -> Chart:
    values = [step.row["p50_ms"] for step in way]
    words = [units.duration(value) for value in values]
    batch = way[0].row["batch_size"]
    return _falling("latency-steps", f"Latency, p50 at batch {batch}", way, values, words)


def _size(way: Sequence[Step]) -> Chart:
    values = [float(step.size_bytes or 0) for step in way]
    words = [units.size(value) for value in values]
    return _falling("size-steps", "Size of the engine file", way, values, words)


def _falling(
    name: str, title: str, way: Sequence[Step], values: Sequence[float], words: Sequence[str]
) -> Chart:
    """A bar per step; above it, light, what the step took away from the bar before."""
    axes = panel(HEIGHT, bottom=38, top=14)
    axes.spines["left"].set_visible(False)
    axes.yaxis.set_visible(False)
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
    told = "; ".join(
        f"{step.name} {word}" + (f" ({units.times(before / value)})" if place else "")
        for place, (step, word, value, before) in enumerate(
            zip(way, words, values, [values[0], *values], strict=False)
        )
    )
    return Chart("line", name, title, f"{told}.", figure_of(axes))


def _accuracy(way: Sequence[Step]) -> Chart:
    axes = panel(HEIGHT, left=44, bottom=38, top=14)
    shares = [100 * step.accuracy["top1"] for step in way]
    bounds = [_interval(step) for step in way]
    axes.plot(range(len(way)), shares, color=LINE, lw=1.5, zorder=1)
    for place, (step, share, (low, high)) in enumerate(zip(way, shares, bounds, strict=True)):
        colour = _colour(place, step)
        axes.errorbar(
            place, share, [[share - low], [high - share]], fmt="o", ms=9, color=colour, lw=1.5,
            capsize=4,
        )  # fmt: skip
        axes.annotate(
            f"{share:.2f} %", (place, share), (12, 0), textcoords="offset points", va="center",
            fontsize=11,
        )  # fmt: skip
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.grid(axis="y")
    _name_steps(axes, way)
    axes.set_xlim(-0.45, len(way) - 0.35)
    told = "; ".join(
        f"{step.name} {share:.2f} % ({low:.2f} to {high:.2f})"
        for step, share, (low, high) in zip(way, shares, bounds, strict=True)
    )
    text = f"{told}. The bars are 95 % intervals over the test images."
    return Chart("line", "accuracy-steps", "Accuracy, with 95 % interval", text, figure_of(axes))


def _parameters(report: Report) -> Iterator[Chart]:
    """Parameters of the stages that hand on a model of their own."""
    named = ("train", "trained"), ("prune", "pruned"), ("quantize", "quantized")
    found = [(words, comparability.stage_named(report, name)) for name, words in named]
    known = [
        (words, stage["model"]["parameters"])
        for words, stage in found
        if stage and stage["model"]["parameters"]
    ]
    if len(known) < 2:
        return
    axes = panel(HEIGHT, bottom=24, top=14)
    axes.spines["left"].set_visible(False)
    axes.yaxis.set_visible(False)
    colours = dict(trained="trained", pruned="fp32", quantized="int8")
    for place, (words, count) in enumerate(known):
        axes.bar(place, count, 0.62, color=STAND_IN[colours[words]])
        above_bar(axes, place, count, units.count(count))
    axes.set_ylim(0, max(count for _, count in known) * 1.15)
    axes.set_xlim(-0.55, len(known) - 0.45)
    axes.set_xticks(range(len(known)), [words for words, _ in known], color=QUIET)
    axes.tick_params(axis="x", length=0)
    told = "; ".join(f"{words} {units.count(count)}" for words, count in known)
    yield Chart("line", "parameters", "Parameters by stage", f"{told}.", figure_of(axes))


def _interval(step: Step) -> tuple[float, float]:
    """The 95 % interval of an accuracy, in percent."""
    samples = step.accuracy["samples"]
    found = proportions.wilson(round(step.accuracy["top1"] * samples), samples)
    return 100 * found.low, 100 * found.high


def _colour(place: int, step: Step) -> str:
    return STAND_IN["trained" if place == 0 else step.precision]


def _name_steps(axes: Axes, way: Sequence[Step]) -> None:
    names = [step.name.replace(" ", "\n", 1) for step in way]
    axes.set_xticks(range(len(way)), names, fontsize=SMALL)
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.55, len(way) - 0.45)
