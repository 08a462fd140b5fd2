"""Tables by their cells and figures as Matplotlib's own objects, for tests to read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from pipeline.report.svg import Chart, styled
from pipeline.report.tables import Table
from pipeline.results.evidence import Evidence

Draw = Callable[[Any, Evidence], Iterator[Chart]]


def by_name(draw: Draw, report: Any, evidence: Evidence | None = None) -> dict[str, Chart]:
    """The charts of one module."""
    with styled():
        return {chart.name: chart for chart in draw(report, evidence or Evidence())}


def cells(table: Table) -> dict[str, dict[str, str]]:
    """First cell -> the other cells by column name."""
    return {each[0]: dict(zip(table.columns[1:], each[1:], strict=True)) for each in table.rows}


def bars(chart: Chart, axis: str) -> list[float]:
    """The lengths of all bars, in order."""
    patches = chart.figure.axes[0].patches
    return [patch.get_height() if axis == "y" else patch.get_width() for patch in patches]  # type: ignore[attr-defined]


def lines(chart: Chart, place: int = 0) -> list[tuple[list[float], list[float]]]:
    """The points of all lines of one of the axes."""
    found = chart.figure.axes[place].get_lines()
    return [
        (np.ravel(line.get_xdata()).tolist(), np.ravel(line.get_ydata()).tolist()) for line in found
    ]


def texts(chart: Chart) -> list[str]:
    """Everything that is written into the axes, ticks apart."""
    return [text.get_text() for axes in chart.figure.axes for text in axes.texts]
