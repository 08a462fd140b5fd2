"""One run per artifact folder: a second one learns who holds it."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TextIO

from stages.errors import ArtifactError, SettingsError

FILE = ".lock"


@contextlib.contextmanager
def locked(root: Path, command: str) -> Iterator[None]:
    """Hold the artifact folder `root`, which is created if missing, until the block ends.

    The lock belongs to the open file, so a killed process never leaves it behind.
    Windows has no flock: there nothing keeps two runs apart.
    Raises ArtifactError that names the holder, SettingsError if `root` cannot be used.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        # Not truncated yet: until we have the lock, the content names whoever holds it.
        descriptor = os.open(root / FILE, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise SettingsError(
            f"cannot write to the artifact folder {str(root)!r}: {error.strerror}",
            "choose another one with --artifacts",
        ) from error
    with os.fdopen(descriptor, "r+", encoding="utf-8") as file:
        _lock(file.fileno(), root)
        _sign(file, command)
        try:
            yield
        finally:
            # Not deleted: a run that has just opened the file would lock one without a name, and
            # the next run would lock another.
            file.truncate(0)


def _lock(descriptor: int, root: Path) -> None:
    if sys.platform == "win32":
        return
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ArtifactError(
            f"the artifact folder {str(root)!r} is in use by {_holder(root)}",
            "wait until it ends, or choose another folder with --artifacts",
        ) from error


def _sign(file: TextIO, command: str) -> None:
    holder = {
        "pid": os.getpid(),
        "host": platform.node(),
        "since": datetime.now().astimezone().isoformat(" ", "seconds"),
        "command": command,
    }
    file.truncate(0)
    json.dump(holder, file)
    file.flush()


def _holder(root: Path) -> str:
    try:
        holder = json.loads((root / FILE).read_text(encoding="utf-8"))
        return "process {pid} on {host} since {since}: {command}".format(**holder)
    except (OSError, ValueError, KeyError, TypeError):
        return "another run that has only just begun"
