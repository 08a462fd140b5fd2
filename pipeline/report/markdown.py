"""The report as Markdown, as GitHub draws it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from pipeline.report import contents, fingerprint
from pipeline.report.tables import NotRun, Table
from pipeline.results.model import Report

MARKUP = re.compile(r"([\\`*~\[\]|]|(?<!\w)_|_(?!\w))")


def render(report: Report) -> str:
    """Headings, pipe tables and notes; text from records is escaped.

    At the end stands the report's fingerprint, in a comment.
    """
    lines = _lines(contents.lasting(report))
    return fingerprint.signed("\n".join(lines) + "\n", fingerprint.of(report))


def _lines(report: Report) -> Iterator[str]:
    yield f"# Report: {plain(contents.title(report))}"
    yield ""
    yield from (f"**{plain(line)}**\n" for line in report.verdict)
    if engine := contents.taken_home(report):
        yield f"The engine is `{engine[0]}`; to take it home: `{engine[1]}`\n"
    for table in contents.tables(report, "md"):
        yield from section(table)


def section(table: Table) -> Iterator[str]:
    """A heading, a pipe table, its notes, and what did not run; nothing for an empty table."""
    if table.rows:
        yield f"## {plain(table.title)}"
        yield ""
        yield _row(map(plain, table.columns))
        yield _row(("---" if table.is_words(i) else "---:") for i in range(len(table.columns)))
        yield from (_row(map(plain, cells)) for cells in table.rows)
        yield ""
        yield from (f"{plain(note)}\n" for note in table.notes)
    if table.not_run:
        yield from map(_reason, table.not_run)
        yield ""


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _reason(engines: NotRun) -> str:
    fix = f" To change that: `{engines.fix.replace('`', chr(39))}`" if engines.fix else ""
    return f"- {plain(engines.names)} ({engines.state}): {plain(engines.reason)}.{fix}"


def plain(text: str) -> str:
    """`text` on one line, with nothing in it that Markdown or HTML would read as markup."""
    line = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return MARKUP.sub(r"\\\1", line)
