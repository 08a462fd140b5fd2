"""Whether a file already shows what it should, without drawing it."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

from pipeline.results.model import Report

SOURCES = (".py", ".css", ".j2")


def can_draw() -> bool:
    """Whether there can be figures: machines that only run engines may lack Matplotlib."""
    return importlib.util.find_spec("matplotlib") is not None


def of(report: Report) -> str:
    """A digest of everything that report.html and report.md show: what was measured, and the code
    that draws.

    Whether a stage ran just now or earlier is no part of it, nor of them: see `contents.lasting`.
    """
    shown = report.model_dump_json(exclude={"stages": {"__all__": {"state"}}})
    digest = hashlib.sha256(shown.encode())
    digest.update(str(can_draw()).encode())
    for file in sorted(Path(__file__).parent.rglob("*")):
        if file.suffix in SOURCES:
            digest.update(file.read_bytes())
    return digest.hexdigest()


def is_current(file: Path, digest: str) -> bool:
    """Whether `file` is drawn from the report with this fingerprint, and need not be again."""
    try:
        return digest.encode() in file.read_bytes()
    except OSError:
        return False
