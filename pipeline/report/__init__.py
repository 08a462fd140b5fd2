"""The report: what the records say, joined once and shown in several formats.

    records -> assemble -> report.json -> yardstick  what may be compared with what
                                          chain      the steps from the trained model to the engine
                                          grids      tables of plain text
                                          terminal | markdown | web_page | spreadsheet
    latency.npz, changed.npz -> evidence -> charts   figures, only of web_page

Nothing is measured here; a number that a record does not hold is shown as "-".
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

from pipeline.report import csv, fingerprint, markdown
from pipeline.report.terminal import table
from pipeline.results.assemble import assemble
from pipeline.results.comparability import Report
from stages.errors import SettingsError

__all__ = ["Format", "assemble", "render", "table", "write"]

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

    A page that already shows just this report is left as it is: its figures take a second.
    """
    files = [folder / f"report.{format}" for format in FILES]
    for format, file in zip(FILES, files, strict=True):
        if format != "html" or not fingerprint.is_current(file, report):
            _replace(file, render(report, format, folder))
    return files


def _page(report: Report, artifacts: Path | None) -> str:
    # Matplotlib takes half a second to import: only who wants a page pays for it.
    from pipeline.report import html
    from pipeline.results import evidence

    return html.render(report, evidence.read(report, artifacts))


def _json(report: Report) -> str:
    return json.dumps(report, indent=2, allow_nan=False) + "\n"


def _replace(file: Path, text: str) -> None:
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


FILES = ("json", "md", "html")

RENDERERS: dict[str, Callable[[Report], str]] = {
    "md": markdown.render,
    "json": _json,
    "csv": csv.render,
}
