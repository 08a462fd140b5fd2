"""Whether a page already shows what it should, without drawing it."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

from pipeline.results.model import Report

HEAD = 300
"""Characters of a page among which its fingerprint is."""

SOURCES = (".py", ".css", ".j2")


def can_draw() -> bool:
    """Whether there can be figures: machines that only run engines may lack Matplotlib."""
    return importlib.util.find_spec("matplotlib") is not None


def of(report: Report) -> str:
    """A digest of everything that the page shows: what was measured, and the code that draws.

    Whether a stage ran just now or earlier is no part of it, nor of the page.
    """
    shown = report.model_dump_json(exclude={"stages": {"__all__": {"state"}}})
    digest = hashlib.sha256(shown.encode())
    digest.update(str(can_draw()).encode())
    for file in sorted(Path(__file__).parent.rglob("*")):
        if file.suffix in SOURCES:
            digest.update(file.read_bytes())
    return digest.hexdigest()


def is_current(file: Path, report: Report) -> bool:
    """Whether `file` is the page of exactly this report, so that it need not be drawn again."""
    try:
        with file.open(encoding="utf-8") as page:
            return f'name="report-fingerprint" content="{of(report)}"' in page.read(HEAD)
    except (OSError, ValueError):
        return False
