"""The report as one HTML file: no script, no network, light and dark, wide and narrow.

    templates/page.html.j2    the page; it knows some sections by their name
    templates/cell.html.j2    the output of a cell in a notebook
    templates/table.html.j2   a table
    templates/terms.html.j2   what the words of the report mean
    templates/style.css

Jinja2 and the figures weigh: this module is imported only when a page is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import jinja2
from markupsafe import Markup

from pipeline.report import contents, fingerprint, svg
from pipeline.report.contents import SECTIONS, Section
from pipeline.report.sections import classes, masks, samples
from pipeline.report.sections.samples import Gallery
from pipeline.report.sections.stages import metric
from pipeline.report.svg import Chart
from pipeline.report.tables import Table
from pipeline.results import comparability, speedup_steps, units
from pipeline.results.evidence import Evidence
from pipeline.results.model import Report
from stages.engines.registry import PRECISION_LABELS
from stages.results.base import P99_SAMPLES
from stages.results.engines import BenchmarkDetails

TEMPLATES = Path(__file__).with_name("templates")
STYLE = TEMPLATES / "style.css"

FEW_ROWS = 16
"""A table with more rows is folded away: the figure above it says most of it."""

MEANINGS = {
    "accuracy": "share of the test images that the model itself got right",
    "ROC AUC": "share of the pairs of a yes and a no among the test images in which the yes gets "
    "the larger probability",
    "mean average precision": "area under precision against recall, a mean over the labels, of "
    "the test images",
    "R2": "share of the variance of the test images' targets that the answers explain; below 0 "
    "they are further off than the mean of the targets",
    "mean IoU": "pixels that are rightly of a class, divided by those that are of it in the truth "
    "or the answer; a mean over the classes, of the test images",
    "mean over the outputs": "of the metrics that decide for each output, of the test images",
    "own metric": "what the function quality.metric says of the test images, or 1 minus that where "
    "lower is better",
}
"""By the words of what decides."""

COLOURS = {"trained": "trained model", **PRECISION_LABELS}

ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(TEMPLATES),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    undefined=jinja2.StrictUndefined,
)
ENVIRONMENT.globals |= {
    "unknown": units.UNKNOWN,
    "few_rows": FEW_ROWS,
    "p99_samples": P99_SAMPLES,
}


@dataclass(frozen=True)
class Content:
    """A section with what it shows, of several outputs of one; `figures` are titles with their SVG.

    `anchor` is what links lead to.
    """

    name: str
    title: str
    anchor: str
    figures: tuple[tuple[str, Markup], ...]
    notes: tuple[str, ...]
    galleries: tuple[Gallery, ...]
    tables: tuple[Table, ...]

    def __bool__(self) -> bool:
        shown = self.figures or self.notes or self.galleries or self.tables
        return bool(shown) or self.name == "terms"


def render(report: Report, evidence: Evidence | None = None) -> str:
    """A complete document; whatever comes from the records is escaped."""
    evidence = evidence or Evidence()
    digest = fingerprint.of(report)
    report = contents.lasting(report)
    used = {"trained", "fp32", *(engine.precision for engine in comparability.benchmarked(report))}
    sections = [
        _content(section, place, output, view, evidence.of(output))
        for section in SECTIONS
        for place, (output, view) in enumerate(section.views(report))
    ]
    page = ENVIRONMENT.get_template("page.html.j2").render(
        name=contents.title(report),
        taken_home=contents.taken_home(report),
        verdict=report.verdict,
        can_draw=fingerprint.can_draw(),
        tiles=list(_tiles(report)),
        benchmark=report.stage("benchmark"),
        colours=[(name, words) for name, words in COLOURS.items() if name in used],
        sections=[section for section in sections if section],
        metric=metric(report),
        meaning=MEANINGS.get(metric(report), MEANINGS["accuracy"]),
    )
    return fingerprint.signed(page, digest)


def cell(report: Report) -> str:
    """The verdict and the tables of the terminal, as the output of a cell in a notebook."""
    shown = [table for table in contents.tables(report, "terminal") if table.rows]
    template = ENVIRONMENT.get_template("cell.html.j2")
    return template.render(verdict=report.verdict, shown=shown)


def _tiles(report: Report) -> Iterator[tuple[str, str]]:
    """The key figures of the chosen engine against the trained model."""
    way = speedup_steps.steps(report)
    if len(way) < 2:
        return
    first, last = way[0], way[-1]
    yield _factor(first.row.p50_ms / last.row.p50_ms, "faster", "slower", "about as fast")
    yield f"p50, batch {last.row.batch_size}", units.duration(last.row.p50_ms)
    if size := comparability.ratio(first.size_bytes, last.size_bytes):
        yield _factor(size, "smaller", "larger", "about as large")
    if last.accuracy.score is not None:
        yield last.accuracy.words, units.percent(last.accuracy.score)


def _factor(factor: float, more: str, less: str, same: str) -> tuple[str, str]:
    """("faster", "7.0x"), from the words in which the verdict says it."""
    amount, _, word = units.compared(factor, more, less, f"1.0x {same}").partition(" ")
    return word, amount


def _content(
    section: Section, place: int, output: str, report: Report, evidence: Evidence
) -> Content:
    """Of the report that is at `place` among the section's views."""
    drawn = section.charts(report, evidence) if fingerprint.can_draw() else ()
    mark = f"output-{place}-" if place else ""
    charts = svg.draw(replace(chart, name=f"{mark}{chart.name}") for chart in drawn)
    return Content(
        section.name,
        contents.named(section.title, output),
        mark + section.title.lower().replace(" ", "-"),
        # The SVG is safe: to_svg escapes the words in it.
        figures=tuple((chart.title, Markup(drawing)) for chart, drawing in charts),
        notes=tuple(_notes(section, charts, report, evidence)),
        galleries=tuple(_galleries(section, report, evidence)),
        tables=tuple(contents.tables_of(section, output, report, "html")),
    )


def _notes(
    section: Section,
    charts: Sequence[tuple[Chart, str]],
    report: Report,
    evidence: Evidence,
) -> Iterator[str]:
    """What was not readable; and what figures show that no table has, in words for everybody."""
    if section.name == "latency":
        yield from evidence.faults
    if section.name == "answers":
        yield from (chart.description for chart, _ in charts)
        yield from masks.sentences(report, evidence.answers)
    if section.name == "classes":
        yield from samples.sentences(report)


def _galleries(section: Section, report: Report, evidence: Evidence) -> Iterator[Gallery]:
    if section.name == "answers":
        yield from masks.galleries(evidence.answers)
    details, described = report.details(BenchmarkDetails), classes.described(report)
    if section.name == "classes" and details and described:
        yield from samples.galleries(evidence.changed, described.names, details.changed)
