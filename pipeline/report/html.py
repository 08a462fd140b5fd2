"""The report as one HTML file: no script, no network, light and dark, wide and narrow.

Its figures weigh: they are imported only when a page is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from pipeline.report import contents, fingerprint, svg
from pipeline.report.contents import SECTIONS, Section
from pipeline.report.html_tables import table
from pipeline.report.sections import classes, samples
from pipeline.report.sections.terms import TERMS
from pipeline.report.tables import NotRun
from pipeline.results import comparability, speedup_steps, units
from pipeline.results.evidence import Evidence
from pipeline.results.model import Report
from stages.results.engines import BenchmarkDetails

STYLE = Path(__file__).with_name("style.css")

COLOURS = {"trained": "trained model", "fp32": "float32", "fp16": "FP16", "int8": "INT8"}


def render(report: Report, evidence: Evidence | None = None) -> str:
    """A complete document; whatever comes from the records is escaped."""
    evidence = evidence or Evidence()
    mark = fingerprint.of(report)
    # Whether a stage ran just now or earlier is no part of the page: it would differ every time.
    ran = tuple(stage.model_copy(update={"state": "ran"}) for stage in report.stages)
    report = report.model_copy(update={"stages": ran})
    name = escape(str(report.dataset.name or "no data set"))
    parts = {section: list(_content(section, report, evidence)) for section in SECTIONS}
    parts = {section: content for section, content in parts.items() if content}
    return (
        f"{fingerprint.HEAD}{mark}"
        '">\n<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>Report: {name}</title>\n<style>\n{STYLE.read_text(encoding='utf-8')}</style>\n"
        '</head>\n<body>\n<a class="skip" href="#results">Skip to the results</a>\n'
        f"<header>\n<h1>Report: {name}</h1>\n"
        + "\n".join(_headline(report))
        + f"\n{_links(list(parts))}\n</header>\n"
        + '<main id="results">\n'
        + "\n".join(_section(section, content) for section, content in parts.items())
        + "\n</main>\n</body>\n</html>\n"
    )


def _headline(report: Report) -> Iterator[str]:
    yield '<section class="verdict" aria-label="Verdict">'
    yield from (f"<p>{escape(line).replace('-&gt;', '→')}</p>" for line in report.verdict)
    if not fingerprint.can_draw():
        yield '<p class="note">Without figures, which need: pip install matplotlib</p>'
    yield "</section>"
    tiles = list(_tiles(report))
    if tiles:
        yield '<dl class="tiles">'
        yield from (f"<div><dt>{what}</dt><dd>{value}</dd></div>" for what, value in tiles)
        yield "</dl>"
    benchmark = report.stage("benchmark")
    if benchmark and benchmark.started_at:
        when = escape(benchmark.started_at.replace("T", " ")[:16])
        where = (benchmark.environment.get("cpu") or {}).get("model")
        yield f'<p class="note">Measured {when} UTC' + (f" on {escape(where)}" if where else "")
        yield "</p>"


def _tiles(report: Report) -> Iterator[tuple[str, str]]:
    """The key figures of the chosen engine against the trained model."""
    way = speedup_steps.steps(report)
    if len(way) < 2:
        return
    first, last = way[0], way[-1]
    slower = last.row.p50_ms / first.row.p50_ms
    yield ("slower", units.times(slower)) if slower > 1 else ("faster", units.times(1 / slower))
    yield f"p50, batch {last.row.batch_size}", units.duration(last.row.p50_ms)
    if smaller := comparability.ratio(first.size_bytes, last.size_bytes):
        is_smaller = smaller >= 1
        yield (
            "smaller" if is_smaller else "larger",
            units.times(smaller if is_smaller else 1 / smaller),
        )
    if last.accuracy.top1 is not None:
        yield "accuracy", units.percent(last.accuracy.top1)


def _links(sections: Sequence[Section]) -> str:
    links = "".join(
        f'<li><a href="#{_anchor(section)}">{escape(section.title)}</a></li>'
        for section in sections
    )
    return f'<nav aria-label="Contents"><ul>{links}</ul></nav>'


def _anchor(section: Section) -> str:
    return section.title.lower().replace(" ", "-")


def _section(section: Section, content: Sequence[str]) -> str:
    anchor, body = _anchor(section), "\n".join(content)
    return (
        f'<section aria-labelledby="{anchor}">\n<h2 id="{anchor}">{escape(section.title)}</h2>\n'
        f"{body}\n</section>"
    )


def _content(section: Section, report: Report, evidence: Evidence) -> Iterator[str]:
    charts = svg.draw(section.charts(report, evidence)) if fingerprint.can_draw() else []
    if charts:
        if section.name == "stages":
            yield _key(report)
        yield '<div class="charts">'
        for chart, drawing in charts:
            yield f"<figure><figcaption>{escape(chart.title)}</figcaption>{drawing}</figure>"
        yield "</div>"
    if section.name == "latency":
        yield from (f'<p class="note">{escape(fault)}</p>' for fault in evidence.faults)
    if section.name == "classes":
        yield from _galleries(report, evidence)
    if section.name == "terms":
        pairs = (f"<dt>{escape(term)}</dt>\n<dd>{escape(text)}</dd>" for term, text in TERMS)
        yield from ("<dl>", *pairs, "</dl>")
    not_run: list[NotRun] = []
    for each in contents.tables(report, "html", [section]):
        if each.is_facts:
            yield f"<h3>{escape(each.title)}</h3>"
        is_folded = each.folded == "always" or (each.folded == "with charts" and bool(charts))
        yield from table(each, is_folded)
        not_run += each.not_run
    if not_run:
        yield from _reasons(not_run)


def _key(report: Report) -> str:
    used = {"trained", "fp32", *(engine.precision for engine in comparability.benchmarked(report))}
    keys = "".join(
        f'<li><span class="swatch" style="background:var(--{name})"></span>{words}</li>'
        for name, words in COLOURS.items()
        if name in used
    )
    return f'<ul class="key" aria-label="Colours">{keys}</ul>'


def _galleries(report: Report, evidence: Evidence) -> Iterator[str]:
    details, described = report.details(BenchmarkDetails), classes.described(report)
    diff = details.changed if details else None
    if described is None:
        return
    for gallery in samples.galleries(evidence.changed, described.names, diff):
        yield f'<h3>{gallery.title}</h3>\n<ul class="samples">'
        for each in gallery.samples:
            text = escape(each.description)
            yield (
                f'<li><img src="{each.source}" alt="{text}" title="{text}" width="64" height="64">'
                f'<span>{escape(each.before)} <span aria-hidden="true">→</span> '
                f"{escape(each.after)}</span></li>"
            )
        yield "</ul>"


def _reasons(not_run: Sequence[NotRun]) -> Iterator[str]:
    yield "<h3>Engines that were not run</h3>\n<dl>"
    for each in not_run:
        yield f"<dt>{escape(each.names)}: {escape(each.state)}</dt>"
        fix = f"<br>To change that: <code>{escape(each.fix)}</code>" if each.fix else ""
        yield f"<dd>{escape(each.reason)}{fix}</dd>"
    yield "</dl>"
