"""Whether a file already shows what it should, without drawing it."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

from pipeline.results.model import Report

SOURCES = (".py", ".css", ".j2")
ROOT = Path(__file__).parents[2]
PLACES = (
    "pipeline/report",
    "pipeline/results",
    "stages/results",
    "stages/tasks/registry.py",
    "stages/engines/registry.py",
    "stages/numerics/proportions.py",
)
"""Where the words and numbers of a report are made of records: folders and files."""

START = b"<!-- report-fingerprint: "


def can_draw() -> bool:
    """Whether there can be figures: machines that only run engines may lack Matplotlib."""
    return importlib.util.find_spec("matplotlib") is not None


def of(report: Report) -> str:
    """A digest of everything that report.html and report.md show: what was measured, and the code
    that makes words and figures of it.

    Whether a stage ran just now or earlier is no part of it, nor of them: see `contents.lasting`.
    """
    shown = report.model_dump_json(exclude={"stages": {"__all__": {"state"}}})
    digest = hashlib.sha256(shown.encode())
    digest.update(str(can_draw()).encode())
    for file in sources():
        digest.update(file.read_bytes())
    return digest.hexdigest()


def sources() -> Iterator[Path]:
    """The files of that code, in a fixed order."""
    for place in PLACES:
        files = [ROOT / place, *sorted((ROOT / place).rglob("*"))]
        yield from (file for file in files if file.suffix in SOURCES)


def signed(text: str, digest: str) -> str:
    """`text` with a last line, a comment, for `is_current`."""
    return text + _comment(text.encode(), digest).decode()


def is_current(file: Path, digest: str) -> bool:
    """Whether `file` was drawn from the report with this fingerprint, and is as it was drawn."""
    try:
        raw = file.read_bytes()
    except OSError:
        return False
    text = raw[: raw.rfind(START)]
    return raw == text + _comment(text, digest)


def _comment(text: bytes, digest: str) -> bytes:
    own = hashlib.sha256(text).hexdigest()
    return START + f"{digest} {own} -->\n".encode()
