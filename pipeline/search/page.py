"""The search as one HTML file, in the style of the report. Jinja2 and Matplotlib weigh: imported
only when a page is drawn.
"""

from __future__ import annotations

from markupsafe import Markup

from pipeline.report import fingerprint, html, svg
from pipeline.search import figures, sentences, tables
from pipeline.search.searching import Searched


def render(searched: Searched) -> str:
    """A complete document; whatever comes from the trials is escaped."""
    charts = svg.draw(figures.charts(searched)) if fingerprint.can_draw() else []
    return html.ENVIRONMENT.get_template("search.html.j2").render(
        verdict=sentences.verdict(searched),
        can_draw=fingerprint.can_draw(),
        # The SVG is safe: to_svg escapes the words in it.
        figures=[(chart.title, Markup(drawing)) for chart, drawing in charts],
        shown=[tables.front(searched), tables.everything(searched), tables.knobs(searched)],
    )
