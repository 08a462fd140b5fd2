from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

import pytest

from stages.artifacts.file_lock import waiting


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no /proc")
def test_a_lock_is_held_in_a_way_that_nfs_takes(tmp_path: Path) -> None:
    """Its flock is one of fcntl, which wants a file that is open for writing."""
    with waiting(tmp_path / "lock"):
        (held,) = [
            each
            for each in Path("/proc/self/fd").iterdir()
            if os.path.realpath(each) == str(tmp_path / "lock")
        ]
        fcntl.lockf(int(held.name), fcntl.LOCK_EX)


def test_who_has_to_wait_is_told_and_nobody_else(tmp_path: Path) -> None:
    told, holder = [], contextlib.ExitStack()
    holder.enter_context(waiting(tmp_path / "lock"))

    def on_wait() -> None:
        told.append("waits")
        holder.close()

    for _ in range(2):
        with waiting(tmp_path / "lock", on_wait=on_wait):
            pass
    assert told == ["waits"]
