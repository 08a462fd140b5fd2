"""Every figure of the report, drawn by Matplotlib.

Matplotlib takes half a second to import, so only the HTML page imports this package.
"""

from __future__ import annotations

from pipeline.reports.charts import (
    classes,
    engines,
    latency,
    layers,
    line,
    parity,
    pruning,
    quantization,
    training,
)
from pipeline.reports.charts.canvas import Chart, styled, to_svg
from pipeline.reports.evidence import Evidence
from pipeline.reports.yardstick import Report

SECTIONS = (line, engines, latency, classes, training, pruning, quantization, parity, layers)


def draw(report: Report, evidence: Evidence) -> list[tuple[Chart, str]]:
    """The figures that the records have data for, with their SVG, in the order of the page."""
    with styled():
        return [
            (chart, to_svg(chart))
            for section in SECTIONS
            for chart in section.charts(report, evidence)
        ]
