"""What was found, in the terminal and in files: JSON, Markdown and one HTML page."""

from __future__ import annotations

import sys

from pipeline.core.display import console
from pipeline.report import can_write_page, markdown
from pipeline.report.terminal import Drawn
from pipeline.search import sentences, tables
from pipeline.search.searching import Searched
from stages.artifacts.atomic import replacing
from stages.errors import ReportError


def publish(searched: Searched) -> None:
    """Write report.json, .md and .html, and print what was found. Raises ReportError."""
    texts = {"report.json": _json(searched), "report.md": _markdown(searched)}
    if can_write_page():
        from pipeline.search import page

        texts["report.html"] = page.render(searched)
    try:
        for name, text in texts.items():
            with replacing(searched.folder / name) as draft:
                draft.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ReportError(
            f"cannot write the reports into {str(searched.folder)!r}: {error.strerror}",
            "the trials are complete; what they found: pipeline search --show",
        ) from error
    show(searched)
    print("\nreport:", ", ".join(str(searched.folder / name) for name in texts))
    if searched.found.front:
        print(f"to take one: pipeline search --take N{searched.option}")


def show(searched: Searched, format: str = "table") -> None:
    """Print what was found."""
    if format == "json":
        sys.stdout.write(_json(searched))
        return
    terminal, table = console(), tables.front(searched)
    for each in (table, tables.knobs(searched)):
        if each.rows:
            terminal.print()
            terminal.print(Drawn(each))
            for note in each.notes:
                terminal.print(note, style="dim")
    terminal.print()
    for sentence in sentences.verdict(searched):
        terminal.print(sentence, markup=False)


def _json(searched: Searched) -> str:
    return searched.found.model_dump_json(indent=1) + "\n"


def _markdown(searched: Searched) -> str:
    lines = ["# Search", ""]
    lines += [f"{markdown.plain(sentence)}\n" for sentence in sentences.verdict(searched)]
    for table in (tables.front(searched), tables.everything(searched), tables.knobs(searched)):
        lines += markdown.section(table)
    return "\n".join(lines) + "\n"
