"""Every figure of the report, drawn by Matplotlib.

Matplotlib takes half a second to import, so only the HTML page imports this package.
"""

from __future__ import annotations

from pipeline.report.sections import (
    classes_figures,
    engines_figures,
    latency_figures,
    parity_figures,
    precision_figures,
    pruning_figures,
    quantization_figures,
    stages_figures,
    training_figures,
)
from pipeline.report.svg import Chart, styled, to_svg
from pipeline.results.comparability import Report
from pipeline.results.evidence import Evidence

SECTIONS = (
    stages_figures,
    engines_figures,
    latency_figures,
    classes_figures,
    training_figures,
    pruning_figures,
    quantization_figures,
    parity_figures,
    precision_figures,
)


def draw(report: Report, evidence: Evidence) -> list[tuple[Chart, str]]:
    """The figures that the records have data for, with their SVG, in the order of the page."""
    with styled():
        return [
            (chart, to_svg(chart))
            for section in SECTIONS
            for chart in section.charts(report, evidence)
        ]
