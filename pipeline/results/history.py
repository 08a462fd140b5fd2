"""`artifacts/history.jsonl`: the summary of every run that did something, a line each.

A line is appended by one write while the run holds the lock of the folder, so that two runs
never mix and a kill leaves at worst one broken last line, which readers skip.
"""

from __future__ import annotations

import json
import os
from datetime import datetime, timezone
from pathlib import Path

from pipeline.core.hashing import key_of
from pipeline.core.spelling import nearest, suggestion
from pipeline.results.summary import Summary, chosen_row
from stages.errors import ArtifactError

FILE = "history.jsonl"
VERSION = 1
ID_CHARACTERS = 8

NEEDED: dict[str, type | tuple[type, ...]] = {
    "id": str,
    "time": str,
    "engine": (str, type(None)),
    "stages": dict,
    "engines": dict,
    "settings": dict,
    "environment": dict,
    "conditions": dict,
    "gates": list,
}
KNOWN = ("dataset", "model", "batch_size")


def append(root: Path, summary: Summary) -> str:
    """Add a run to the history of the artifact folder `root` and return its id.

    Raises ArtifactError if the line cannot be written whole; then nothing of it stays.
    """
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    entry = {**summary, "version": VERSION, "time": now}
    entry["id"] = key_of([entry, os.getpid()])[:ID_CHARACTERS]
    try:
        line = json.dumps(entry, separators=(",", ":"), allow_nan=False)
        _append(root / FILE, line.encode("ascii") + b"\n")
    except OSError as error:
        raise ArtifactError(
            f"cannot write to {str(root / FILE)!r}: {error.strerror}",
            "the artifacts and the report are complete; only this run's line is missing",
        ) from error
    return str(entry["id"])


def _append(file: Path, line: bytes) -> None:
    with file.open("ab+", buffering=0) as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - 1))
        if stream.read(1) not in (b"", b"\n"):
            line = b"\n" + line
        try:
            if (written := stream.write(line)) != len(line):
                raise OSError(28, f"only {written} of {len(line)} bytes were written")
            os.fsync(stream.fileno())
        except OSError:
            os.ftruncate(stream.fileno(), size)
            raise


def read(root: Path) -> tuple[list[Summary], list[str]]:
    """The runs, oldest first, and what is wrong with the lines that hold none.

    Raises ArtifactError if the file cannot be read; without a file there are no runs.
    """
    try:
        lines = (root / FILE).read_bytes().split(b"\n")
    except FileNotFoundError:
        return [], []
    except OSError as error:
        raise ArtifactError(f"cannot read {str(root / FILE)!r}: {error.strerror}") from error
    runs, faults = [], []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                runs.append(_entry(line))
            except ValueError as error:
                faults.append(f"{root / FILE}, line {number}: {error}")
    return runs, faults


def _entry(line: bytes) -> Summary:
    """Raises ValueError for what is no line of the history."""
    try:
        entry = json.loads(line)
    except ValueError as error:
        raise ValueError("not whole, or no JSON") from error
    if not isinstance(entry, dict):
        raise ValueError("holds no JSON object")
    wrong = [key for key, kind in NEEDED.items() if not isinstance(entry.get(key, ()), kind)]
    if wrong := [*wrong, *(key for key in KNOWN if key not in entry)]:
        raise ValueError(f"lacks {', '.join(wrong[:3])}")
    if entry.get("version") != VERSION:
        raise ValueError(f"has version {entry.get('version')!r}, expected {VERSION}")
    try:
        chosen_row(entry)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("its engines are not what a run writes") from error
    found: Summary = entry
    return found


def find(root: Path, word: str) -> Summary:
    """The run whose id is, or begins with, `word`; the last one of equals.

    Raises ArtifactError for none and for several.
    """
    runs, _ = read(root)
    ids = {run["id"]: run for run in runs if run["id"].startswith(word)}
    if len(ids) == 1:
        return next(iter(ids.values()))
    if ids:
        raise ArtifactError(f"{word!r} begins {len(ids)} ids: {', '.join(ids)}", "write one out")
    near = nearest(word, [run["id"] for run in runs])
    raise ArtifactError(
        f"no run {word!r}: neither a folder nor a file, nor an id in "
        f"{str(root / FILE)!r}{suggestion(near)}",
        "known ids: pipeline history",
    )
