"""How the trained model and the chosen engine answer, where they are asked for no class of several.

Yes and no, labels and values are drawn in answer_charts.py, masks are in masks.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pipeline.report.svg import Chart
from pipeline.results.model import Report

if TYPE_CHECKING:
    from pipeline.results.evidence import Evidence
    from stages.measurement.kept_answers import KeptAnswers


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
