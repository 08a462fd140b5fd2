"""Answers of yes and no, labels and values as figures: the trained model and the chosen engine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.report.sections.answers import counted
from pipeline.report.svg import (
    LINE,
    QUIET,
    SMALL,
    STAND_IN,
    Chart,
    figure_of,
    limit_ticks,
    panel,
    row_label,
    rows_only,
)
from pipeline.results import units
from pipeline.results.model import Report
from stages.engines.registry import EngineName
from stages.measurement.kept_answers import KeptAnswers
from stages.numerics import ranking
from stages.tasks import regression
from stages.tasks.base import Outputs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_LABELS = 20
MOST_VALUES = 4
"""Figures of values, the worst ones."""
MOST_POINTS = 500
"""Drawn in a figure of a value; what is said of it counts all."""
LONGEST = 26
"""Letters of a name."""


@dataclass(frozen=True)
class Model:
    """One of the two with its outputs (M, K) for the images that were kept.

    limits (K,): its own thresholds in what it returns; none of numbers.
    """

    words: str
    colour: str
    outputs: Outputs
    limits: NDArray[np.float64]


def models(kept: KeptAnswers) -> tuple[Model, Model]:
    """The trained model and the engine."""
    engine = EngineName.parse(kept.engine)
    return (
        Model("the trained model", STAND_IN["trained"], kept.before, kept.limits_before),
        Model(engine.label, STAND_IN[engine.precision], kept.after, kept.limits_after),
    )


def of(report: Report, kept: KeptAnswers) -> Iterator[Chart]:
    """What suits the task; nothing where no image is a yes, and of masks."""
    if kept.task == "binary" and kept.targets.any():
        yield _precision_and_recall(report, kept)
    elif kept.task == "multilabel" and kept.targets.any():
        yield _labels(report, kept)
    elif kept.task == "regression":
        yield from _values(report, kept)


def _precision_and_recall(report: Report, kept: KeptAnswers) -> Chart:
    axes = panel(300, left=44, bottom=38, top=30)
    truth, yes = kept.targets[:, 0], kept.names[-1]
    for model in models(kept):
        precision, recall = ranking.precision_and_recall(model.outputs[:, 0], truth)
        # Up to each recall what the next lower score gives, as average precision counts it.
        axes.step(
            100 * np.append(0.0, recall), 100 * np.append(precision[0], precision),
            where="pre", color=model.colour, label=model.words,
        )  # fmt: skip
        if point := at_limit(model, truth):
            axes.plot([100 * point[1]], [100 * point[0]], "o", ms=8, mfc=model.colour, mec=LINE)
    axes.set_xlim(0, 101)
    axes.set_xlabel(f"recall of {_short(yes)}, %; dots: at the thresholds")
    axes.set_ylabel("precision, %")
    axes.grid()
    axes.legend(loc="lower right", bbox_to_anchor=(1, 0.99), ncols=2, borderpad=0)
    title = f"Precision and recall of {_short(yes)}"
    return Chart("precision-recall", title, _curves_in_words(report, kept), figure_of(axes))


def at_limit(model: Model, truth: Outputs) -> tuple[float, float] | None:
    """Precision and recall of a yes from its threshold on, truth (M,); None where none is one."""
    said = model.outputs[:, 0] >= model.limits[0]
    hits = float(truth[said].sum())
    return (hits / said.sum(), hits / float(truth.sum())) if said.any() else None


def _curves_in_words(report: Report, kept: KeptAnswers) -> str:
    truth, parts = kept.targets[:, 0], []
    for model in models(kept):
        scores = model.outputs[:, 0]
        area = units.percent(ranking.average_precision(scores, truth))
        point = at_limit(model, truth)
        there = (
            f"at its threshold precision {units.percent(point[0])} and recall "
            f"{units.percent(point[1])}"
            if point
            else "no image reaches its threshold"
        )
        parts.append(f"{model.words}: average precision {area}, {there}")
    return (
        f"On {counted(report, kept)}, {int(truth.sum()):,} of them {kept.names[-1]}. "
        f"{_sentence('; '.join(parts))} Each has its own threshold, chosen on validation images."
    )


def _labels(report: Report, kept: KeptAnswers) -> Chart:
    before, after = (average_precisions(each.outputs, kept.targets) for each in models(kept))
    there = np.flatnonzero(kept.targets.any(axis=0))
    worst = there[np.argsort(after[there], kind="stable")][:MOST_LABELS].tolist()
    axes = panel(34.0 * len(worst) + 44, bottom=36, top=8)
    rows_only(axes, len(worst))
    for place, label in enumerate(worst):
        notes = f"{units.percent(before[label])} → {units.percent(after[label])}"
        row_label(axes, place + 0.12, _short(kept.names[label]), notes)
        _pair(axes, place + 0.1, 100 * before[label], 100 * after[label], kept)
    axes.set_xlim(0, 102)
    axes.set_xlabel("average precision, %; grey: trained")
    title = "Average precision by label, worst first"
    return Chart("labels", title, _labels_in_words(report, kept, before, after), figure_of(axes))


def average_precisions(outputs: Outputs, targets: Outputs) -> Outputs:
    """Of each label, of (M, K) twice: float64 (K,)."""
    pairs = zip(outputs.T, targets.T, strict=True)
    return np.array([ranking.average_precision(*each) for each in pairs])


def _pair(axes: Axes, row: float, before: float, after: float, kept: KeptAnswers) -> None:
    trained, engine = models(kept)
    axes.plot([before, after], [row, row], color=LINE)
    axes.plot([before], [row], "o", ms=9, color=trained.colour)
    axes.plot([after], [row], "o", ms=6, color=engine.colour)


def _labels_in_words(report: Report, kept: KeptAnswers, before: Outputs, after: Outputs) -> str:
    there = np.flatnonzero(kept.targets.any(axis=0))
    order = there[np.argsort((after - before)[there], kind="stable")]
    worse = int((after < before)[there].sum())
    found = f"On {counted(report, kept)}, {models(kept)[1].words} has a lower average precision "
    found += f"than the trained model for {worse} of {len(there)} labels"
    if worse:
        first = order[0]
        found += (
            f", most of all for {kept.names[first]}: {units.percent(before[first])} before, "
            f"{units.percent(after[first])} after"
        )
    absent = [kept.names[label] for label in np.flatnonzero(~kept.targets.any(axis=0))]
    return f"{found}." + (f" No image has {units.shortened(absent)}." if absent else "")


def _values(report: Report, kept: KeptAnswers) -> Iterator[Chart]:
    """The values with the lowest R2 of the engine."""
    scores = [_r2(kept.after, kept.targets, value) for value in range(len(kept.names))]
    for value in np.argsort(scores, kind="stable")[:MOST_VALUES].tolist():
        axes = panel(330, left=50, bottom=38, top=30)
        _points(axes, kept, value)
        axes.set_xlabel("true value")
        axes.set_ylabel("predicted")
        axes.legend(loc="lower right", bbox_to_anchor=(1, 0.99), ncols=2, borderpad=0)
        title = f"Predicted against true: {_short(kept.names[value])}"
        words = _residuals_in_words(report, kept, value)
        yield Chart(f"value-{value}", title, words, figure_of(axes))


def _points(axes: Axes, kept: KeptAnswers, value: int) -> None:
    """Both models' points, evenly taken, and the diagonal where they are right."""
    shown = np.unique(np.linspace(0, len(kept) - 1, MOST_POINTS).round().astype(int))
    truth = kept.targets[shown, value]
    for model, size in zip(models(kept), (5, 3), strict=True):
        predicted = model.outputs[shown, value]
        axes.plot(truth, predicted, "o", ms=size, mew=0, color=model.colour, label=model.words)
    ends = [float(truth.min()), float(truth.max())]
    axes.plot(ends, ends, color=QUIET, lw=1, ls="--")
    for axis in (axes.xaxis, axes.yaxis):
        limit_ticks(axis, 5)
    axes.tick_params(labelsize=SMALL)
    axes.grid()


def _r2(outputs: Outputs, targets: Outputs, value: int) -> float:
    pair = np.stack([outputs[:, value], targets[:, value]], axis=1)
    return regression.score(pair.astype(np.float64))


def _residuals_in_words(report: Report, kept: KeptAnswers, value: int) -> str:
    parts = []
    for model in models(kept):
        residuals = model.outputs[:, value].astype(np.float64) - kept.targets[:, value]
        low, first, third, high = np.quantile(residuals, (0.05, 0.25, 0.75, 0.95))
        parts.append(
            f"{model.words}: R2 {units.percent(_r2(model.outputs, kept.targets, value))}, half of "
            f"the residuals from {first:.3g} to {third:.3g}, 90 % from {low:.3g} to {high:.3g}"
        )
    return (
        f"{kept.names[value]}, on {counted(report, kept)}; a residual is the predicted value less "
        f"the true one. "
        f"{_sentence('; '.join(parts))}"
    )


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
