"""`artifacts/history.jsonl`: the summary of every run that did something, a line each.

A run that failed or was interrupted has a line with its settings and without results.

A line is appended by one write while the run holds the lock of the folder, so that two runs
never mix and a kill leaves at worst one broken last line, which readers skip.
"""

from __future__ import annotations

import json
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from pipeline.core.hashing import key_of
from pipeline.core.record import faults
from pipeline.core.seal import KEY as SEAL
from pipeline.core.seal import opened, sealed
from pipeline.results.summary import Summary
from stages.artifacts.atomic import sync
from stages.errors import ArtifactError, nearest, suggestion
from stages.results.base import Measured

FILE = "history.jsonl"
VERSION: Literal[2] = 2
UNSEALED: Literal[1] = 1
"""The version before, whose lines have no seal."""
ID_CHARACTERS = 8


State = Literal["done", "failed", "interrupted"]


class Ending(Measured):
    """How a run ended; if not done, at which stage, and the first line of why.

    `options` are the --config and --set that its settings were given with.
    """

    state: State = "done"
    ended_at: str | None = None
    error: str | None = None
    options: tuple[str, ...] = ()


class Entry(Summary, Ending):
    """One line of the history: a run with its id and the time at which it ended."""

    version: Literal[1, 2]
    id: str
    time: str

    def to_json(self) -> dict[str, Any]:
        """Every key of a run; of its stages and engines, only what was measured."""
        measured = self.model_dump(mode="json", exclude_none=True)
        return {**dict.fromkeys(type(self).model_fields), **measured}

    def to_line(self) -> bytes:
        """The entry as one sealed line of ASCII."""
        return sealed(self.to_json())


def append(root: Path, summary: Summary, ending: Ending = Ending()) -> str:  # noqa: B008
    """Add a run to the history of the artifact folder `root` and return its id.

    Raises ArtifactError if the line cannot be written whole; then nothing of it stays.
    """
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    content = {**summary.model_dump(mode="json"), **ending.model_dump(), "time": now}
    id = key_of([content, os.getpid()])[:ID_CHARACTERS]
    entry = Entry.model_validate({**content, "version": VERSION, "id": id})
    try:
        _append(root / FILE, entry.to_line())
    except OSError as error:
        raise ArtifactError(
            f"cannot write to {str(root / FILE)!r}: {error.strerror}",
            "the artifacts and the report are complete; only this run's line is missing",
        ) from error
    return id


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
    if size == 0:
        sync(file.parent)


def read(root: Path) -> tuple[list[Entry], list[str]]:
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


def _entry(line: bytes) -> Entry:
    """Raises ValueError for what is no line of the history."""
    try:
        content = json.loads(line)
    except ValueError as error:
        raise ValueError("not whole, or no JSON") from error
    if not isinstance(content, dict):
        raise ValueError("holds no JSON object")
    if content.get("version") not in (UNSEALED, VERSION):
        raise ValueError(f"has version {content.get('version')!r}, expected {VERSION}")
    if content["version"] == VERSION or SEAL in content:
        content = opened(line + b"\n")
    try:
        return Entry.model_validate(content)
    except ValidationError as error:
        raise ValueError(faults(error)) from error


def find(root: Path, word: str) -> Entry:
    """The run whose id is, or begins with, `word`; the last one of equals.

    Raises ArtifactError for none and for several.
    """
    runs, _ = read(root)
    ids = {run.id: run for run in runs if run.id.startswith(word)}
    if len(ids) == 1:
        return next(iter(ids.values()))
    if ids:
        raise ArtifactError(f"{word!r} begins {len(ids)} ids: {', '.join(ids)}", "write one out")
    near = nearest(word, [run.id for run in runs])
    raise ArtifactError(
        f"no run {word!r}: neither a folder nor a file, nor an id in "
        f"{str(root / FILE)!r}{suggestion(near)}",
        "known ids: pipeline history",
    )
