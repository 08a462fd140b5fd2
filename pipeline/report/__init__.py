"""The report in its formats.

    results.assemble -> Report       what the records say, joined
    sections/<topic>                 its tables, as plain text, and its charts, by Matplotlib
    contents                         the sections in order
    terminal | markdown | html       draw the tables, each in its way; html the charts as well
    csv, json                        the numbers themselves

Nothing is measured here; a number that a record does not hold is shown as "-".
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

from pipeline.report import csv, fingerprint, markdown
from pipeline.report.terminal import table
from pipeline.results import model
from pipeline.results.model import Report
from stages.artifacts.atomic import replacing
from stages.errors import ReportError, SettingsError

__all__ = ["Format", "can_write_page", "render", "schema", "table", "write"]

Format = Literal["md", "html", "json", "csv"]


def render(report: Report, format: str, artifacts: Path | None = None) -> str:
    """The report as text: `md`, `html`, `json` or `csv`. Raises SettingsError for others.

    The HTML also shows what the benchmark left in the folder `artifacts`, where that is given.
    """
    if format not in get_args(Format):
        raise SettingsError(
            f"unknown report format {format!r}, expected one of: {', '.join(get_args(Format))}"
        )
    if format == "html":
        return _page(report, artifacts)
    return RENDERERS[format](report)


def write(report: Report, folder: Path) -> list[Path]:
    """Write report.json, report.md and report.html into `folder`, each whole or not at all.

    What already shows just this report is left alone: the figures of the page take a second.
    Without Jinja2, which machines that only run engines may lack, there is no page.
    """
    files, digest = [], fingerprint.of(report)
    for format in FILES:
        file = folder / f"report.{format}"
        if format == "html" and not can_write_page():
            continue
        files.append(file)
        if format == "json" or not fingerprint.is_current(file, digest):
            text = render(report, format, folder)
            with replacing(file) as draft:
                draft.write_text(text, encoding="utf-8")
    return files


def can_write_page() -> bool:
    """Whether the package that report.html needs is installed."""
    return importlib.util.find_spec("jinja2") is not None


def schema() -> str:
    """The JSON Schema of report.json, as report.schema.json publishes it."""
    return json.dumps(model.schema(), indent=2)


def _page(report: Report, artifacts: Path | None) -> str:
    if not can_write_page():
        raise ReportError("the HTML page needs the package jinja2", "pip install jinja2")
    # Matplotlib takes half a second to import: only who wants a page pays for it.
    from pipeline.report import html
    from pipeline.results import evidence

    return html.render(report, evidence.read(report, artifacts))


FILES = ("json", "md", "html")

RENDERERS: dict[str, Callable[[Report], str]] = {
    "md": markdown.render,
    "json": lambda report: model.write(report).decode(),
    "csv": csv.render,
}
