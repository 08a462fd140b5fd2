"""Locks that are files: whoever holds one has it open, so that a killed process leaves none."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path


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
