from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from children import environment, output_of

from pipeline.core.lock import FILE, locked
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
