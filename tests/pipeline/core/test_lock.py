from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from children import environment, output_of

from pipeline.core.lock import FILE, MACHINE_FILE, alone_on_machine, locked, waiting
from stages.errors import ArtifactError, SettingsError

HOLD = """
import sys, time
from pathlib import Path
from pipeline.core.lock import locked
with locked(Path(sys.argv[1]), "pipeline run all --force"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_the_second_run_is_told_who_holds_the_folder(
    holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    with pytest.raises(ArtifactError) as caught, locked(tmp_path, "pipeline run train"):
        pass
    assert f"process {holder.pid} on {os.uname().nodename} since 2" in caught.value.message
    assert "pipeline run all --force" in caught.value.message
    assert "--artifacts" in caught.value.hint


def test_a_killed_run_leaves_no_lock_behind(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with locked(tmp_path, "pipeline run train"):
        assert "pipeline run train" in (tmp_path / FILE).read_text()


def test_the_lock_is_free_after_its_block_even_if_that_failed(tmp_path: Path) -> None:
    with pytest.raises(KeyError), locked(tmp_path, "first"):
        raise KeyError
    with locked(tmp_path, "second"):
        pass
    assert (tmp_path / FILE).read_text() == ""


def test_a_lock_whose_holder_has_not_signed_yet_is_a_lock(tmp_path: Path) -> None:
    with locked(tmp_path, "first"):
        (tmp_path / FILE).write_text('{"pid"')
        with pytest.raises(ArtifactError, match="only just begun"), locked(tmp_path, "second"):
            pass


def test_the_artifact_folder_is_made(tmp_path: Path) -> None:
    with locked(tmp_path / "a/b", "first"):
        assert (tmp_path / "a/b").is_dir()


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "artifacts").write_text("")
    refused = pytest.raises(SettingsError, match="cannot write to the artifact folder")
    with refused, locked(tmp_path / "artifacts", "first"):
        pass


READ_ONLY = """
import os, sys
from pathlib import Path
from pipeline.core.lock import locked
if os.geteuid() == 0:
    os.setuid(65534)
try:
    with locked(Path(sys.argv[1]), "pipeline run train"):
        pass
except Exception as error:
    print(type(error).__name__, error.message)
"""


def test_a_folder_that_one_may_not_write_to_is_refused_with_its_name(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    said = output_of(READ_ONLY, str(tmp_path))
    tmp_path.chmod(0o755)
    assert said == (
        f"SettingsError cannot write to the artifact folder {str(tmp_path)!r}: Permission denied\n"
    )


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


def test_one_measurement_at_a_time_has_the_machine() -> None:
    file = Path(tempfile.gettempdir(), MACHINE_FILE)
    with alone_on_machine(), pytest.raises(BlockingIOError), waiting(file, blocking=False):
        pass
    with waiting(file, blocking=False):
        pass


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
