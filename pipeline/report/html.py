"""The report as one HTML file: no script, no network, light and dark, wide and narrow.

Its figures weigh: they are imported only when a page is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

from pipeline.report import fingerprint, tables
from pipeline.report.html_tables import table
from pipeline.report.sections import classes, latency, precision, pruning, quantization, samples
from pipeline.report.tables import Grid
from pipeline.results import comparability, speedup_steps, units
from pipeline.results.comparability import P99_SAMPLES, Report
from pipeline.results.evidence import Evidence
from pipeline.results.units import UNKNOWN

STYLE = Path(__file__).with_name("style.css")

TERMS = (
    ("accuracy", "share of the test images that the model itself got right"),
    ("change", "in percentage points, against the trained model on as many images"),
    ("p50, p90, p99", f"half, 90 % and 99 % of the calls took no longer; p99 needs "
     f"{P99_SAMPLES:,} calls to mean much"),
    ("speed-up", "p50 of the trained float32 model in ONNX Runtime, divided by p50 of this one, "
     "both timed in turns by the same benchmark; where no benchmark was run, both as tf.function"),
    ("95 % interval", "would hold the true value in 95 of 100 repetitions; of an accuracy it "
     "covers the choice of the test images, of a p50 the choice of the moment"),
    ("UNSTABLE", "the median moved between the windows of the measurement: do not trust it"),
    ("baseline", "the trained, unpruned float32 model in ONNX Runtime"),
    ("size", "of the file; stages write Keras models, which may hold more than weights"),
    (UNKNOWN, "not measured"),
)  # fmt: skip

COLOURS = {"trained": "trained model", "fp32": "float32", "fp16": "FP16", "int8": "INT8"}

Figures = Mapping[str, Sequence[str]]
"""The figures of each section, as HTML."""


def render(report: Report, evidence: Evidence | None = None) -> str:
    """A complete document; whatever comes from the records is escaped."""
    evidence = evidence or Evidence()
    name = escape(str(report["dataset"]["name"] or "no data set"))
    sections = list(_sections(report, evidence, _figures(report, evidence)))
    return (
        f"{fingerprint.HEAD}{fingerprint.of(report)}"
        '">\n<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>Report: {name}</title>\n<style>\n{STYLE.read_text(encoding='utf-8')}</style>\n"
        '</head>\n<body>\n<a class="skip" href="#results">Skip to the results</a>\n'
        f"<header>\n<h1>Report: {name}</h1>\n"
        + "\n".join(_headline(report))
        + f"\n{_contents(sections)}\n</header>\n"
        + '<main id="results">\n'
        + "\n".join(_section(title, parts) for title, parts in sections)
        + "\n</main>\n</body>\n</html>\n"
    )


def _figures(report: Report, evidence: Evidence) -> Figures:
    if not fingerprint.can_draw():
        return {}
    from pipeline.report import figures

    found: dict[str, list[str]] = {}
    for chart, svg in figures.draw(report, evidence):
        caption = f"<figcaption>{escape(chart.title)}</figcaption>"
        found.setdefault(chart.section, []).append(f"<figure>{caption}{svg}</figure>")
    return found


def _headline(report: Report) -> Iterator[str]:
    yield '<section class="verdict" aria-label="Verdict">'
    yield from (f"<p>{escape(line).replace('-&gt;', '→')}</p>" for line in report["verdict"])
    if not fingerprint.can_draw():
        yield '<p class="note">Without figures, which need: pip install matplotlib</p>'
    yield "</section>"
    tiles = list(_tiles(report))
    if tiles:
        yield '<dl class="tiles">'
        yield from (f"<div><dt>{what}</dt><dd>{value}</dd></div>" for what, value in tiles)
        yield "</dl>"
    benchmark = comparability.stage_named(report, "benchmark")
    if benchmark and benchmark["started_at"]:
        when = escape(str(benchmark["started_at"]).replace("T", " ")[:16])
        where = (benchmark["environment"].get("cpu") or {}).get("model")
        yield f'<p class="note">Measured {when} UTC' + (f" on {escape(where)}" if where else "")
        yield "</p>"


def _tiles(report: Report) -> Iterator[tuple[str, str]]:
    """The numbers that people ask for first, of the chosen engine against the trained model."""
    way = speedup_steps.steps(report)
    if len(way) < 2:
        return
    first, last = way[0], way[-1]
    speed = last.row["p50_ms"] / first.row["p50_ms"]
    yield ("slower", units.times(speed)) if speed > 1 else ("faster", units.times(1 / speed))
    yield f"p50, batch {last.row['batch_size']}", units.duration(last.row["p50_ms"])
    size = comparability.ratio(first.size_bytes, last.size_bytes)
    if size:
        yield ("smaller", units.times(size)) if size >= 1 else ("larger", units.times(1 / size))
    if last.accuracy["top1"] is not None:
        yield "accuracy", units.percent(last.accuracy["top1"])


def _contents(sections: Sequence[tuple[str, Sequence[str]]]) -> str:
    links = "".join(
        f'<li><a href="#{_anchor(title)}">{escape(title)}</a></li>' for title, _ in sections
    )
    return f'<nav aria-label="Contents"><ul>{links}</ul></nav>'


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def _section(title: str, parts: Sequence[str]) -> str:
    anchor = _anchor(title)
    body = "\n".join(parts)
    return (
        f'<section aria-labelledby="{anchor}">\n<h2 id="{anchor}">{escape(title)}</h2>\n{body}\n'
        "</section>"
    )


def _sections(
    report: Report, evidence: Evidence, figures: Figures
) -> Iterator[tuple[str, list[str]]]:
    """Title and content of every section that has any."""
    drawn = {name: list(_row(found)) for name, found in figures.items()}
    contents: dict[str, Iterator[str]] = {
        "The line": _line(report, drawn),
        "Engines": _engines(report, drawn),
        "Latency": _shown(drawn, "latency", latency.latency_grid(report), evidence.faults),
        "Accuracy by class": _classes(report, evidence, drawn),
        "Training": _shown(drawn, "training"),
        "Pruning": _pruning(report, drawn),
        "Quantization": _shown(drawn, "quantization", quantization.range_grid(report)),
        "Parity": _shown(drawn, "parity", quantization.ladder_grid(report)),
        "Precision by layer": _shown(drawn, "precision", precision.layer_grid(report)),
        "How to read it": _terms(),
        "How it was made": _circumstances(report),
    }
    for title, content in contents.items():
        parts = list(content)
        if parts:
            yield title, parts


def _row(figures: Sequence[str]) -> Iterator[str]:
    if figures:
        yield f'<div class="charts">\n{"".join(figures)}\n</div>'


def _shown(
    drawn: Mapping[str, list[str]],
    section: str,
    grid: Grid | None = None,
    faults: Sequence[str] = (),
) -> Iterator[str]:
    """The figures of a section, and the numbers behind them, folded away where there are both."""
    figures = drawn.get(section, [])
    yield from figures
    yield from (f'<p class="note">{escape(fault)}</p>' for fault in faults)
    if grid is not None:
        yield from table(grid, is_folded=bool(figures))


def _line(report: Report, drawn: Mapping[str, list[str]]) -> Iterator[str]:
    used = {"trained", "fp32", *(each["precision"] for each in comparability.benchmarked(report))}
    if "line" in drawn:
        keys = "".join(
            f'<li><span class="swatch" style="background:var(--{name})"></span>{words}</li>'
            for name, words in COLOURS.items()
            if name in used
        )
        yield f'<ul class="key" aria-label="Colours">{keys}</ul>'
    yield from drawn.get("line", [])
    told = {**report, "stages": [{**stage, "state": "ran"} for stage in report["stages"]]}
    yield from table(tables.stage_grid(told))


def _engines(report: Report, drawn: Mapping[str, list[str]]) -> Iterator[str]:
    yield from drawn.get("engines", [])
    yield from table(tables.engine_grid(report))
    yield from table(latency.choice_grid(report))
    yield from _reasons(report)


def _pruning(report: Report, drawn: Mapping[str, list[str]]) -> Iterator[str]:
    yield from drawn.get("pruning", [])
    is_folded = "pruning" in drawn
    yield from table(pruning.width_grid(report), is_folded=is_folded)
    yield from table(pruning.sensitivity_grid(report), is_folded=is_folded)


def _classes(report: Report, evidence: Evidence, drawn: Mapping[str, list[str]]) -> Iterator[str]:
    found = classes.described(report)
    if found is None:
        return
    yield from drawn.get("classes", [])
    yield from samples.gallery(evidence.changed, found.names, classes.changed_counts(report))
    yield from table(classes.class_grid(report), is_folded=True)
    yield from table(classes.mistake_grid(report), is_folded=True)


def _reasons(report: Report) -> Iterator[str]:
    found = tables.not_run(report)
    if not found:
        return
    yield "<h3>Engines that were not run</h3>\n<dl>"
    for each in found:
        yield f"<dt>{escape(each.names)}: {escape(each.state)}</dt>"
        fix = f"<br>To change that: <code>{escape(each.fix)}</code>" if each.fix else ""
        yield f"<dd>{escape(each.reason)}{fix}</dd>"
    yield "</dl>"


def _circumstances(report: Report) -> Iterator[str]:
    """Data, machine and settings, each under its own heading."""
    for grid, is_folded in (
        (tables.dataset_grid(report), False),
        (tables.conditions_grid(report), False),
        (tables.environment_grid(report), True),
        (tables.settings_grid(report), True),
    ):
        if grid.rows:
            yield f"<h3>{escape(grid.title)}</h3>"
            yield from table(grid, "plain", is_folded)


def _terms() -> Iterator[str]:
    yield "<dl>"
    yield from (f"<dt>{escape(term)}</dt>\n<dd>{escape(text)}</dd>" for term, text in TERMS)
    yield "</dl>"
