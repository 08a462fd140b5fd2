"""A grid as an HTML table."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from pipeline.report.tables import Grid
from pipeline.results.units import UNKNOWN

FEW_ROWS = 16
"""A table with more rows is folded away: the figure above it says the most of it."""


def table(grid: Grid, kind: str = "cards", is_folded: bool = False) -> Iterator[str]:
    """The table in a box of its own, that scrolls where it is too wide, and its notes.

    One of kind "cards" falls into a card per line on a phone (style.css). Nothing without rows.
    """
    if not grid.rows:
        return
    if is_folded or len(grid.rows) > FEW_ROWS:
        rows = f"{len(grid.rows)} {'row' if len(grid.rows) == 1 else 'rows'}"
        yield f"<details><summary>Table: {escape(_lowered(grid.caption))} ({rows})</summary>"
        yield from _table(grid, kind)
        yield "</details>"
    else:
        yield from _table(grid, kind)
    yield from (f'<p class="note">{escape(note)}</p>' for note in grid.notes)


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:]


def _table(grid: Grid, kind: str) -> Iterator[str]:
    label = escape(f"{grid.title}: {_lowered(grid.caption)}")
    yield f'<div class="scroll" role="region" tabindex="0" aria-label="{label}">'
    yield f'<table class="{kind}" role="table">\n<caption>{escape(grid.caption)}</caption>'
    yield f'<thead role="rowgroup"><tr role="row">{_head(grid)}</tr></thead>'
    yield '<tbody role="rowgroup">'
    yield from (f'<tr role="row">{_line(grid, cells)}</tr>' for cells in grid.rows)
    yield "</tbody>\n</table>\n</div>"


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
        f'<td role="cell" class="{_align(grid, index)}{"" if cell.strip(UNKNOWN) else " unknown"}"'
        f' data-name="{escape(grid.columns[index])}">{escape(cell)}</td>'
        for index, cell in enumerate(cells)
        if index > 0
    )


def _align(grid: Grid, column: int) -> str:
    return "words" if grid.is_words(column) else "number"
