"""Requested against executed precision, as shares of the layers of each engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from matplotlib.axes import Axes

from pipeline.report.sections import precision
from pipeline.report.sections.precision import Layer
from pipeline.report.svg import (
    QUIET,
    SMALL,
    STAND_IN,
    Chart,
    figure_of,
    panel,
    row_label,
    rows_only,
)
from pipeline.results.comparability import Report
from pipeline.results.evidence import Evidence
from stages.engines.registry import precision_label

ORDER = ("int8", "fp16", "fp32")


def charts(report: Report, evidence: Evidence) -> Iterator[Chart]:
    """Two bars per engine that tells what its layers run in."""
    found = precision.by_engine(report)
    if found:
        yield _shares(found)


def _shares(found: Mapping[str, Sequence[Layer]]) -> Chart:
    axes = panel(58.0 * len(found) + 40, bottom=36, top=2)
    rows_only(axes, len(found))
    told = []
    for place, (name, entries) in enumerate(found.items()):
        row_label(axes, place + 0.12, name, f"{len(entries)} layers")
        for offset, key in ((0.0, "requested"), (0.3, "executed")):
            counts = Counter(precision.family(entry[key]) for entry in entries)
            _bar(axes, place + offset, counts, len(entries), key)
            words = ", ".join(f"{count} {precision_label(each)}" for each, count in counts.items())
            told.append(f"{name} {key}: {words}")
    axes.set_xlim(0, 100)
    axes.set_xlabel("share of the layers, %; above: requested, below: executed")
    text = f"{'; '.join(told)}."
    title = "Requested and executed precision"
    return Chart("precision", "precision", title, text, figure_of(axes))


def _bar(axes: Axes, row: float, counts: Counter[str], total: int, key: str) -> None:
    left = 0.0
    for name in [*ORDER, *sorted(set(counts) - set(ORDER))]:
        share = 100 * counts[name] / total
        if not share:
            continue
        colour = STAND_IN.get(name, QUIET) if name in ORDER else STAND_IN["line"]
        axes.barh(row, share, 0.24, left, color=colour, alpha=0.9 if key == "executed" else 0.45)
        if share > 14:
            text = f"{precision_label(name)} {counts[name]}"
            axes.text(left + 1.5, row + 0.01, text, va="center", fontsize=SMALL - 1)
        left += share
