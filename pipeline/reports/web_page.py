"""The report as one HTML file: no script, no network, light and dark, wide and narrow."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path

from pipeline.reports import grids, pruning, quantization
from pipeline.reports.grids import Grid
from pipeline.reports.units import UNKNOWN
from pipeline.reports.yardstick import P99_SAMPLES, Report

STYLE = Path(__file__).with_name("style.css")

TERMS = (
    ("accuracy", "share of the test images that the model itself got right"),
    ("change", "in percentage points, against the trained model on as many images"),
    ("p50, p90, p99", f"half, 90 % and 99 % of the calls took no longer; p99 needs "
     f"{P99_SAMPLES:,} calls to mean much"),
    ("speed-up", "p50 of the trained float32 model in ONNX Runtime, divided by p50 of this one, "
     "both timed in turns by the same benchmark; where no benchmark was run, both as tf.function"),
    ("baseline", "the trained, unpruned float32 model in ONNX Runtime"),
    ("size", "of the file; stages write Keras models, which may hold more than weights"),
    (UNKNOWN, "not measured"),
)  # fmt: skip


def render(report: Report) -> str:
    """A complete document; whatever comes from the records is escaped."""
    name = escape(str(report["dataset"]["name"] or "no data set"))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>Report: {name}</title>\n<style>\n{STYLE.read_text(encoding='utf-8')}</style>\n"
        f"</head>\n<body>\n<main>\n<h1>Report: {name}</h1>\n"
        + "\n".join(_sections(report))
        + "\n</main>\n</body>\n</html>\n"
    )


def _sections(report: Report) -> Iterator[str]:
    yield '<section class="verdict" aria-label="Verdict">'
    yield from (f"<p>{escape(line).replace('-&gt;', '→')}</p>" for line in report["verdict"])
    yield "</section>"
    yield from _section(grids.stage_grid(report), "cards")
    yield from _section(grids.engine_grid(report), "cards")
    yield from _reasons(report)
    yield from _section(grids.latency_grid(report), "cards")
    yield from _section(pruning.width_grid(report), "cards")
    yield pruning.drawing(report)
    yield from _section(pruning.sensitivity_grid(report), "cards")
    yield from _section(quantization.range_grid(report), "cards")
    yield from _section(quantization.ladder_grid(report), "cards")
    yield from _terms()
    for grid in (grids.dataset_grid, grids.conditions_grid, grids.environment_grid):
        yield from _section(grid(report))
    yield from _section(grids.settings_grid(report))


def _section(grid: Grid, kind: str = "plain") -> Iterator[str]:
    """A table; one of kind "cards" falls into a card per line on a phone (style.css)."""
    if not grid.rows:
        return
    title = escape(grid.title)
    yield f"<section>\n<h2>{title}</h2>"
    yield f'<div class="scroll" role="region" tabindex="0" aria-label="{title}">'
    yield f'<table class="{kind}" role="table">\n<caption>{escape(grid.caption)}</caption>'
    yield f'<thead role="rowgroup"><tr role="row">{_head(grid)}</tr></thead>'
    yield '<tbody role="rowgroup">'
    yield from (f'<tr role="row">{_line(grid, cells)}</tr>' for cells in grid.rows)
    yield "</tbody>\n</table>\n</div>"
    yield from (f'<p class="note">{escape(note)}</p>' for note in grid.notes)
    yield "</section>"


def _head(grid: Grid) -> str:
    names = (escape(name).replace(", ", ",<br>") for name in grid.columns)
    return "".join(
        f'<th scope="col" role="columnheader" class="{_align(grid, index)}">{name}</th>'
        for index, name in enumerate(names)
    )


def _line(grid: Grid, cells: tuple[str, ...]) -> str:
    """Roles are written out because a card, no longer laid out as a table, would lose them."""
    first = f'<th scope="row" role="rowheader">{escape(cells[0])}</th>'
    return first + "".join(
        f'<td role="cell" class="{_align(grid, index)}{" unknown" if cell == UNKNOWN else ""}"'
        f' data-name="{escape(grid.columns[index])}">{escape(cell)}</td>'
        for index, cell in enumerate(cells)
        if index > 0
    )


def _align(grid: Grid, column: int) -> str:
    return "words" if grid.is_words(column) else "number"


def _reasons(report: Report) -> Iterator[str]:
    found = grids.not_run(report)
    if not found:
        return
    yield "<section>\n<h2>Engines that were not run</h2>\n<dl>"
    for each in found:
        yield f"<dt>{escape(each.names)}: {escape(each.state)}</dt>"
        fix = f"<br>To change that: <code>{escape(each.fix)}</code>" if each.fix else ""
        yield f"<dd>{escape(each.reason)}{fix}</dd>"
    yield "</dl>\n</section>"


def _terms() -> Iterator[str]:
    yield "<section>\n<h2>How to read it</h2>\n<dl>"
    yield from (f"<dt>{escape(term)}</dt>\n<dd>{escape(text)}</dd>" for term, text in TERMS)
    yield "</dl>\n</section>"
