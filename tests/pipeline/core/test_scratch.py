from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.core import scratch as module
from pipeline.core.scratch import ALIVE, PREFIX, scratch
from stages.errors import ArtifactError


def test_a_run_has_an_empty_folder_that_is_gone_at_its_end(tmp_path: Path) -> None:
    with scratch(tmp_path) as made:
        assert made.folder == tmp_path / f"{PREFIX}{os.getpid()}"
        (made.folder / "file").touch()
    assert not list(tmp_path.iterdir())


def test_the_folder_of_a_killed_run_is_removed_and_those_of_others_stay(tmp_path: Path) -> None:
    for name in (".tmp-4711", ".tmp-notes", ".tmp-"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    with scratch(tmp_path):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == [".tmp-", ".tmp-notes"]


HOLD = """
import fcntl, sys
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""

Left = tuple[Path, "subprocess.Popen[bytes]"]


@pytest.fixture
def left(tmp_path: Path) -> Iterator[Left]:
    """The folder of a killed run, and a process of it that is alive until its stdin closes."""
    folder = tmp_path / ".tmp-4711"
    folder.mkdir()
    command = [sys.executable, "-c", HOLD, str(folder / ALIVE)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        yield folder, process


def test_what_is_alive_of_a_killed_run_is_waited_for(
    tmp_path: Path, left: Left, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAIT_SECONDS", 600.0)
    folder, process = left
    assert process.stdin
    told = threading.Event()
    end = threading.Timer(0.2, lambda: (told.set(), process.stdin.close()))
    end.start()
    with scratch(tmp_path):
        assert told.is_set()
        assert not folder.exists()
    end.join()


def test_what_does_not_end_is_an_error_that_names_the_folder(
    tmp_path: Path, left: Left, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.1)
    with pytest.raises(ArtifactError, match=r"\.tmp-4711 is still alive"), scratch(tmp_path):
        pass
