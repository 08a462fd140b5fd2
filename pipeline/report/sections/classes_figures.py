"""Which class was taken for which, by the trained model and by the chosen engine."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from numpy.typing import NDArray

from pipeline.report.sections import classes
from pipeline.report.svg import BAD, PANEL, QUIET, SMALL, STAND_IN, WIDTH, Chart, figure_of, panel
from pipeline.results.comparability import Report
from pipeline.results.evidence import Evidence

NUMBERED = 12
"""With more classes the cells are too small for numbers."""
FEW = 5
"""Mistakes that are as red as can be, where none is more frequent: one image is no alarm."""
SHOWN = 40
"""With more classes the cells are too small to see; the table of confusions has them."""

Counts = NDArray[np.int64]


def charts(report: Report, evidence: Evidence) -> Iterator[Chart]:
    """A confusion matrix before and one after, on one scale."""
    found = classes.described(report)
    if found is None or not 2 <= len(found.names) <= SHOWN or not len(found.confusion_before):
        return
    pair = found.confusion_before, found.confusion_after
    matrices = [np.array(each, np.int64) for each in pair]
    mistakes = max(FEW, *(int(_mistakes(matrix).max()) for matrix in matrices))
    names = list(found.names)
    yield _matrix(
        "confusion-before", "Confusion of the trained model", names, matrices[0], mistakes
    )
    yield _matrix("confusion-after", f"Confusion of {found.engine}", names, matrices[1], mistakes)


def _matrix(name: str, title: str, names: list[str], matrix: Counts, mistakes: int) -> Chart:
    """Rows are the truth. A mistake is the redder the more images it took."""
    count = len(names)
    short = [each if len(each) <= 8 else each[:7] + "…" for each in names]
    long = max(map(len, short)) > 3
    axes = panel(WIDTH - 10, left=62 if long else 40, bottom=56 if long else 38, top=4)
    colours = [
        to_rgba(STAND_IN["fp32"], 0.25)
        if row == column
        else to_rgba(BAD, 0.12 + 0.8 * (matrix[row, column] / mistakes) ** 0.5)
        if matrix[row, column]
        else to_rgba(PANEL, 1.0)
        for row in range(count)
        for column in range(count)
    ]
    mesh = axes.pcolormesh(np.zeros((count, count)), edgecolors=STAND_IN["page"], linewidth=1)
    mesh.set_array(None)
    mesh.set_facecolor(colours)
    axes.set_ylim(count, 0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if count <= NUMBERED:
        _number(axes, matrix)
    ticks = np.arange(count) + 0.5
    size = SMALL if count <= 20 else 7
    axes.set_xticks(ticks, short, rotation=90 if long else 0, fontsize=size)
    axes.set_yticks(ticks, short, fontsize=size)
    axes.tick_params(length=0)
    if not long:
        axes.set_xlabel("named")
    axes.set_ylabel("truth")
    wrong = _mistakes(matrix)
    counted = f"{int(wrong.sum()):,} of {int(matrix.sum()):,} images named wrongly."
    text = f"{counted} {_worst(names, wrong)}"
    return Chart("classes", name, title, text, figure_of(axes))


def _number(axes: Axes, matrix: Counts) -> None:
    for row, column in np.argwhere(matrix > 0):
        value = str(matrix[row, column])
        colour = QUIET if row == column else STAND_IN["text"]
        axes.text(
            column + 0.5, row + 0.5, value, ha="center", va="center", color=colour,
            fontsize=9 if len(value) < 5 else 7,
        )  # fmt: skip


def _mistakes(matrix: Counts) -> Counts:
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    return wrong


def _worst(names: list[str], wrong: Counts) -> str:
    """The most frequent mistakes in words."""
    order = np.argsort(-wrong, axis=None, kind="stable")[:3]
    pairs = [np.unravel_index(place, wrong.shape) for place in order]
    told = [
        f"{names[row]} as {names[column]} {wrong[row, column]} times"
        for row, column in pairs
        if wrong[row, column]
    ]
    return f"Most often: {', '.join(told)}." if told else "None was."
