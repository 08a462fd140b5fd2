"""How the trained model and the chosen engine answer, where they are asked for no class of several.

Yes and no, labels and values are drawn in answer_charts.py, masks are in masks.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pipeline.report.svg import Chart
from pipeline.report.tables import Table
from pipeline.results import comparability, units
from pipeline.results.model import Report
from stages.tasks.registry import METRICS

if TYPE_CHECKING:
    from pipeline.results.evidence import Evidence
    from stages.measurement.kept_answers import KeptAnswers


def tables(report: Report) -> Iterator[Table]:
    """All metrics of the task, before and after."""
    yield metric_table(report)


def metric_table(report: Report) -> Table:
    """Those of the trained model and of the engine of the run; none for classification."""
    found = comparability.chosen_engine(report)
    before = report.baseline.accuracy.measures or {}
    after = (found[0].accuracy.measures if found else None) or {}
    return Table(
        "Metrics",
        f"The trained model and {found[0].name.label if found else 'the engine'}, "
        "on the test images",
        ("metric", "trained", "engine of the run"),
        tuple(
            (METRICS[key].words, _number(key, before[key]), _number(key, after[key]))
            for key in before
            if key in after
        ),
    )


def _number(key: str, value: float) -> str:
    return units.percent(value) if METRICS[key].is_share else f"{value:.4g}"


def charts(report: Report, evidence: Evidence) -> Iterator[Chart]:
    """A curve of precision and recall, the labels one by one, or the values against the truth."""
    if evidence.answers is not None:
        # With NumPy, which takes longer to import than tables take to make.
        from pipeline.report.sections import answer_charts

        yield from answer_charts.of(report, evidence.answers)


def counted(report: Report, kept: KeptAnswers) -> str:
    """ "300 test images", "2,000 of 10,000 test images"."""
    total = report.baseline.accuracy.samples or len(kept)
    of = f" of {total:,}" if total > len(kept) else ""
    return f"{len(kept):,}{of} test images"
