"""The temporary folder of a run, `artifacts/.tmp-1234/`: for all that its processes leave behind.

Its file `.alive` is locked by the run and by the process of its stages. So the next run knows when
the last process of a killed one has ended: until then it would disturb what is timed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stages.errors import ArtifactError

PREFIX = ".tmp-"
ALIVE = ".alive"
WAIT_SECONDS = 30.0
POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Scratch:
    """A folder, and the descriptor that a process inherits to say that it is alive."""

    folder: Path
    descriptor: int


@contextlib.contextmanager
def scratch(root: Path) -> Iterator[Scratch]:
    """An empty temporary folder below `root`, which is removed at the end of the block.

    What killed runs left is removed first, as soon as their processes have ended. Only the holder
    of the lock of `root` may call this. Raises ArtifactError if they do not end.
    """
    for left in root.glob(f"{PREFIX}*"):
        if left.name.removeprefix(PREFIX).isdecimal():
            _wait_for(left)
            shutil.rmtree(left, ignore_errors=True)
    folder = root.absolute() / f"{PREFIX}{os.getpid()}"
    folder.mkdir(parents=True)
    descriptor = os.open(folder / ALIVE, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _lock(descriptor)
        yield Scratch(folder, descriptor)
    finally:
        os.close(descriptor)
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(folder: Path) -> None:
    try:
        descriptor = os.open(folder / ALIVE, os.O_RDWR)
    except OSError:
        return  # killed before it started anything
    end = time.monotonic() + WAIT_SECONDS
    try:
        while not _lock(descriptor):
            if time.monotonic() > end:
                raise ArtifactError(
                    f"a process of the run that made {folder} is still alive, after that run ended",
                    f"end it, or wait until it has ended: fuser {folder / ALIVE}",
                )
            time.sleep(POLL_SECONDS)
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Whether the lock is ours now. Windows has no flock: there nothing is waited for."""
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
