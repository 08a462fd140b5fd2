"""The report as Markdown, as GitHub draws it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pipeline.report import tables
from pipeline.report.sections import classes, latency, precision, pruning, quantization
from pipeline.report.tables import Grid, NotRun
from pipeline.results.comparability import Report

GRIDS = (
    latency.choice_grid,
    latency.latency_grid,
    classes.class_grid,
    classes.mistake_grid,
    pruning.width_grid,
    pruning.sensitivity_grid,
    quantization.range_grid,
    quantization.ladder_grid,
    precision.layer_grid,
    tables.dataset_grid,
    tables.conditions_grid,
    tables.environment_grid,
)


def render(report: Report) -> str:
    """Headings, pipe tables and notes; text from records is escaped."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    yield "# Report"
    yield ""
    yield from (f"**{plain(line)}**\n" for line in report["verdict"])
    yield from section(tables.stage_grid(report))
    if report["engines"]:
        yield from section(tables.engine_grid(report))
        yield from (_reason(each) for each in tables.not_run(report))
        yield ""
    for grid in GRIDS:
        yield from section(grid(report))


def section(grid: Grid) -> Iterator[str]:
    """A heading, a pipe table and its notes; nothing for a table without rows."""
    if not grid.rows:
        return
    yield f"## {grid.title}"
    yield ""
    yield _row(grid.columns)
    yield _row(("---" if grid.is_words(i) else "---:") for i in range(len(grid.columns)))
    yield from (_row(map(plain, cells)) for cells in grid.rows)
    yield ""
    yield from (f"{plain(note)}\n" for note in grid.notes)


def _row(cells: Iterator[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


def _reason(engines: NotRun) -> str:
    fix = f" To change that: `{engines.fix.replace('`', chr(39))}`" if engines.fix else ""
    return f"- {plain(engines.names)} ({engines.state}): {plain(engines.reason)}.{fix}"


def plain(text: str) -> str:
    """`text` on one line, with nothing in it that Markdown or HTML would read as markup."""
    line = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*~\[\]|]|(?<!\w)_|_(?!\w))", r"\\\1", line)
