"""One run per artifact folder: a second one learns who holds it. One measurement per machine: a
second one waits.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TextIO

from stages.errors import ArtifactError, SettingsError

FILE = ".lock"
MACHINE_FILE = "keras-trt-pipeline.measuring"
"""In the folder of temporary files, which all processes of a machine share."""


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


@contextlib.contextmanager
def alone_on_machine(on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Wait until no other process of this machine is in such a block, and be the one in it.

    Calls `on_wait` first where there is one. Two engines that are timed at once slow each other.
    Windows has no flock: there nothing waits.
    """
    file = Path(tempfile.gettempdir(), MACHINE_FILE)
    with waiting(file, on_wait=on_wait):
        yield


@contextlib.contextmanager
def waiting(
    file: Path, blocking: bool = True, on_wait: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Hold the lock `file`, which is made if missing and never deleted, as soon as it is free.

    Calls `on_wait` where it is not free yet, or raises BlockingIOError if waiting is not wanted.
    """
    descriptor = _opened(file)
    try:
        if sys.platform != "win32":
            import fcntl

            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not blocking:
                    raise
                on_wait()
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _opened(file: Path) -> int:
    """For writing, as NFS wants it; for reading that of another user, which can be locked too."""
    try:
        return os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    except PermissionError:
        return os.open(file, os.O_RDONLY)
