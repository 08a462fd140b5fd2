"""The figures of a search: the Pareto front, what each trial tried, what each knob is worth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.report.svg import (
    ACCENT,
    LINE,
    PANEL,
    QUIET,
    SMALL,
    Chart,
    figure_of,
    limit_ticks,
    log_scale,
    panel,
    row_label,
    rows_only,
)
from pipeline.results import units
from pipeline.search import sentences, tables
from pipeline.search.model import Trial
from pipeline.search.results import Found
from pipeline.search.searching import Searched
from stages.settings.searching import Objective

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEIGHT, ROW = 240, 34


def charts(searched: Searched) -> Iterator[Chart]:
    """Those that there is something to draw for."""
    measured = [trial for trial in searched.found.trials if trial.last]
    if len(measured) > 1:
        yield _pareto(measured, searched)
        yield _parallel(measured, searched)
    for objective, shares in searched.found.importances.items():
        yield _importances(objective, shares, searched.found)


def _pareto(trials: Sequence[Trial], searched: Searched) -> Chart:
    """Accuracy against latency, whatever the objectives: filled is the front, grey was stopped."""
    found = searched.found
    axes = panel(HEIGHT, left=48, bottom=40, top=12)
    places = [(each, _p50(each, searched), 100 * _top1(each)) for each in trials]
    times = [p50 for _, p50, _ in places]
    log_scale(axes, min(times) / 1.3, max(times) * 1.3, units.tick)
    limit_ticks(axes.yaxis, 5)
    axes.grid()
    # The front last: trials that are the same engine are at the same place.
    for trial, p50, top1 in sorted(places, key=lambda place: place[0].number in found.front):
        is_best, is_whole = trial.number in found.front, trial.state == "complete"
        edge = ACCENT if is_best or is_whole else LINE
        axes.plot(p50, top1, "o", ms=7, mfc=ACCENT if is_best else PANEL, mec=edge, mew=1.6)
        if is_best or trial.number in found.control:
            axes.annotate(
                str(trial.number), (p50, top1), (0, 6), textcoords="offset points", ha="center",
                fontsize=SMALL,
            )  # fmt: skip
    axes.set_xlabel(f"p50 of a call with {units.images(found.batch_size)}")
    words = found.quality.words
    axes.set_ylabel(f"validation {words}, %")
    best = [place for place in places if place[0].number in found.front]
    text = "; ".join(f"{t.number}: {units.duration(p50)}, {top1:.2f} %" for t, p50, top1 in best)
    title = (
        f"{words[0].upper()}{words[1:]} against latency: filled on the front, pale stopped early"
    )
    return Chart("search-pareto", title, f"On the Pareto front: {text or 'none'}.", figure_of(axes))


def _parallel(trials: Sequence[Trial], searched: Searched) -> Chart:
    """Parallel coordinates: one axis per knob, then accuracy and latency; the front in colour."""
    found = searched.found
    knobs = dict.fromkeys(name for each in trials for name in each.values)
    names = [*knobs, found.quality.words, "p50"]
    columns = {name: [each.values.get(name) for each in trials] for name in knobs}
    columns[found.quality.words] = [100 * _top1(each) for each in trials]
    columns["p50"] = [_p50(each, searched) for each in trials]
    heights = [_heights(columns[name]) for name in names]
    axes = panel(HEIGHT, left=10, bottom=60, top=12)
    # The front last, above the others.
    for index in sorted(range(len(trials)), key=lambda i: trials[i].number in found.front):
        is_best = trials[index].number in found.front
        line = [column[index] for column in heights]
        axes.plot(line, color=ACCENT if is_best else LINE, lw=1.6 if is_best else 0.8)
    _label_axes(axes, names, columns)
    lines = f"{len(trials)} lines, one per trial, {len(found.front)} of them on the front"
    title = "What each trial tried: the front in colour"
    return Chart("search-parallel", title, f"{lines}, over {', '.join(names)}.", figure_of(axes))


def _label_axes(axes: Axes, names: Sequence[str], columns: dict[str, list[Any]]) -> None:
    axes.set_ylim(-0.08, 1.08)
    axes.set_xlim(-0.3, len(names) - 0.7)
    axes.yaxis.set_visible(False)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.set_xticks(range(len(names)), [name.split(".")[-1] for name in names], rotation=30)
    for label in axes.get_xticklabels():
        label.set_horizontalalignment("right")
    for place, name in enumerate(names):
        numbers = [each for each in columns[name] if _is_number(each)]
        if numbers:
            for value, height, side in (
                (min(numbers), -0.03, "top"),
                (max(numbers), 1.03, "bottom"),
            ):
                axes.text(
                    place, height, f"{value:.3g}", ha="center", va=side, fontsize=8, color=QUIET
                )


def _heights(values: Sequence[Any]) -> list[float]:
    """0 to 1 for numbers from the least to the most, else by order of appearance."""
    if not all(map(_is_number, values)):
        kinds = list(dict.fromkeys(map(str, values)))
        return [kinds.index(str(each)) / max(1, len(kinds) - 1) for each in values]
    low, high = min(values), max(values)
    return [(each - low) / (high - low) if high > low else 0.5 for each in values]


def _importances(objective: Objective, shares: dict[str, float], found: Found) -> Chart:
    ranked = sorted(shares.items(), key=lambda pair: -pair[1])
    labels = {
        name: f"{100 * value:.0f} %" if found.varied(name) else tables.CONSTANT
        for name, value in ranked
    }
    axes = panel(ROW * len(ranked) + 44, bottom=34)
    axes.set_xlim(0, 1.08 * 100 * max(value for _, value in ranked))
    for row, (name, value) in enumerate(ranked):
        axes.barh(row, 100 * value, height=0.3, color=ACCENT)
        row_label(axes, row, name, labels[name])
    rows_only(axes, len(ranked))
    axes.set_xlabel("share of what varied between trials, %")
    text = "; ".join(f"{name}: {label}" for name, label in labels.items())
    title = f"What each knob is worth for {sentences.word_of(objective, found)}"
    return Chart(f"search-knobs-{objective}", title, f"{text}.", figure_of(axes))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _p50(trial: Trial, searched: Searched) -> float:
    yardstick = searched.found.yardstick
    if trial.last is None or yardstick is None:
        raise ValueError(f"trial {trial.number} was never measured")
    return yardstick.p50_ms(trial.last)


def _top1(trial: Trial) -> float:
    return trial.last.top1 if trial.last else 0.0
