"""A table as HTML."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from pipeline.report.tables import Table
from pipeline.results.units import UNKNOWN

FEW_ROWS = 16
"""A table with more rows is folded away: the figure above it says the most of it."""


def table(shown: Table, is_folded: bool = False) -> Iterator[str]:
    """The table in a box of its own, that scrolls where it is too wide, and its notes.

    On a phone every line becomes a card (style.css), except of facts. Nothing without rows.
    """
    if not shown.rows:
        return
    kind = "plain" if shown.is_facts else "cards"
    if is_folded or len(shown.rows) > FEW_ROWS:
        rows = f"{len(shown.rows)} {'row' if len(shown.rows) == 1 else 'rows'}"
        yield f"<details><summary>Table: {escape(_lowered(shown.caption))} ({rows})</summary>"
        yield from _table(shown, kind)
        yield "</details>"
    else:
        yield from _table(shown, kind)
    yield from (f'<p class="note">{escape(note)}</p>' for note in shown.notes)


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:]


def _table(shown: Table, kind: str) -> Iterator[str]:
    label = escape(f"{shown.title}: {_lowered(shown.caption)}")
    yield f'<div class="scroll" role="region" tabindex="0" aria-label="{label}">'
    yield f'<table class="{kind}" role="table">\n<caption>{escape(shown.caption)}</caption>'
    yield f'<thead role="rowgroup"><tr role="row">{_head(shown)}</tr></thead>'
    yield '<tbody role="rowgroup">'
    yield from (f'<tr role="row">{_line(shown, cells)}</tr>' for cells in shown.rows)
    yield "</tbody>\n</table>\n</div>"


def _head(shown: Table) -> str:
    names = (escape(name).replace(", ", ",<br>") for name in shown.columns)
    return "".join(
        f'<th scope="col" role="columnheader" class="{_align(shown, index)}">{name}</th>'
        for index, name in enumerate(names)
    )


def _line(shown: Table, cells: tuple[str, ...]) -> str:
    """Roles are written out because a card, no longer laid out as a table, would lose them."""
    first = f'<th scope="row" role="rowheader">{escape(cells[0])}</th>'
    return first + "".join(
        f'<td role="cell" class="{_align(shown, index)}{"" if cell.strip(UNKNOWN) else " unknown"}"'
        f' data-name="{escape(shown.columns[index])}">{escape(cell)}</td>'
        for index, cell in enumerate(cells)
        if index > 0
    )


def _align(shown: Table, column: int) -> str:
    return "words" if shown.is_words(column) else "number"
