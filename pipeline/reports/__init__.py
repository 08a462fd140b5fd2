"""The report: what the records say, joined once and shown in several formats.

    records -> assemble -> report.json -> yardstick  what may be compared with what
                                          grids      tables of plain text
                                          terminal | markdown | web_page | spreadsheet

Nothing is measured here; a number that a record does not hold is shown as "-".
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

from pipeline.reports import markdown, spreadsheet, web_page
from pipeline.reports.assemble import assemble
from pipeline.reports.terminal import table
from pipeline.reports.yardstick import Report
from stages.errors import SettingsError

__all__ = ["Format", "assemble", "render", "table", "write"]

Format = Literal["md", "html", "json", "csv"]


def render(report: Report, format: str) -> str:
    """The report as text: `md`, `html`, `json` or `csv`. Raises SettingsError for others."""
    if format not in RENDERERS:
        raise SettingsError(
            f"unknown report format {format!r}, expected one of: {', '.join(get_args(Format))}"
        )
    return RENDERERS[format](report)


def write(report: Report, folder: Path) -> list[Path]:
    """Write report.json, report.md and report.html into `folder`, each whole or not at all."""
    return [_replace(folder / f"report.{each}", render(report, each)) for each in FILES]


def _json(report: Report) -> str:
    return json.dumps(report, indent=2, allow_nan=False) + "\n"


def _replace(file: Path, text: str) -> Path:
    """Readers see the old file or the new one, also if this process is killed half-way."""
    handle, temporary = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(text)
        os.chmod(temporary, 0o644)  # mkstemp's files are for their owner only
        os.replace(temporary, file)
    except BaseException:
        os.unlink(temporary)
        raise
    return file


FILES = ("json", "md", "html")

RENDERERS: dict[str, Callable[[Report], str]] = {
    "md": markdown.render,
    "html": web_page.render,
    "json": _json,
    "csv": spreadsheet.render,
}
