"""Whether a file already shows what it should, without drawing it."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

from pipeline.results.model import Report

SOURCES = (".py", ".css", ".j2")
ROOT = Path(__file__).parents[2]
PACKAGES = ("pipeline", "stages")

START = b"<!-- report-fingerprint: "


def can_draw() -> bool:
    """Whether there can be figures: machines that only run engines may lack Matplotlib."""
    return importlib.util.find_spec("matplotlib") is not None


def of(report: Report) -> str:
    """A digest of what report.html and report.md are made of: what was measured, and the code that
    makes words and figures of it. The arrays that are drawn are no part of it: a run measures
    anew where they are not those that the benchmark left.

    Whether a stage ran just now or earlier is no part of it, nor of them: see `contents.lasting`.
    """
    shown = report.model_dump_json(exclude={"stages": {"__all__": {"state"}}})
    digest = hashlib.sha256(shown.encode())
    digest.update(str(can_draw()).encode())
    digest.update(_of_code())
    return digest.hexdigest()


@functools.cache
def _of_code() -> bytes:
    return hashlib.sha256(b"".join(file.read_bytes() for file in sources())).digest()


def sources() -> Iterator[Path]:
    """The files of that code, in a fixed order: all of it, for a list of what a page imports would
    be forgotten some day."""
    for package in PACKAGES:
        files = sorted((ROOT / package).rglob("*"))
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
