"""What may befall a run: each mishap is a clear line, and the next run goes on."""

from __future__ import annotations

import resource
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from children import ends_soon, environment, tiny, tiny_command

from pipeline.core.store import Store


def goes_on(folder: Path, *first: str) -> None:
    """Whether a plain run brings everything up to date; `first` were done before."""
    done = tiny("copy", "run", "all", cwd=folder)
    assert done.returncode == 0, done.stderr
    for stage in first:
        assert f"{stage:10} fresh, skipped" in done.stdout
    assert not list((folder / "artifacts").glob(".new-*"))
    assert all(Store(folder / "artifacts").read(stage) for stage in ("write", "copy", "join"))


@pytest.mark.parametrize(
    ("module", "error"),
    [
        ("fills_the_disk", "error: No space left on device\nhint: free some space, or"),
        (
            "takes_all_memory",
            "error: not enough memory\nhint: close other programs, or use",
        ),
        ("dies_mid_answer", "error: the process of stage copy died: SIGKILL, which is how the"),
    ],
)
def test_a_machine_that_gives_out_is_told_and_the_next_run_goes_on(
    tmp_path: Path, module: str, error: str
) -> None:
    done = tiny(module, "run", "all", cwd=tmp_path)
    assert done.returncode == 1
    assert error in done.stderr
    assert "bug" not in done.stderr
    assert "artifacts/.logs/copy.log" in done.stderr
    goes_on(tmp_path, "write")


def test_a_log_that_fills_the_disk_is_told(tmp_path: Path) -> None:
    log = tmp_path / "artifacts/.logs/write.log"
    log.parent.mkdir(parents=True)
    log.symlink_to("/dev/full")
    done = tiny("copy", "run", "all", cwd=tmp_path)
    assert done.returncode == 1
    assert "error: No space left on device\n" in done.stderr
    log.unlink()
    goes_on(tmp_path)


def limit_files(size: int) -> Callable[[], None]:
    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return limit


def run_with(folder: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        tiny_command("copy", "run", "all"),
        cwd=folder,
        env=environment(HOME=str(folder)),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        **options,
    )


def test_a_record_that_does_not_fit_leaves_no_half_artifact(tmp_path: Path) -> None:
    done = run_with(tmp_path, preexec_fn=limit_files(1000))
    assert done.returncode == 1
    assert "error: File too large" in done.stderr
    assert Store(tmp_path / "artifacts").read("write") is None
    goes_on(tmp_path)


def test_a_run_that_is_terminated_takes_its_stage_along(
    sleeper: tuple[subprocess.Popen[str], int], tmp_path: Path
) -> None:
    process, stage = sleeper
    process.terminate()
    assert process.wait(timeout=300) == -signal.SIGTERM
    assert ends_soon(stage)
    goes_on(tmp_path, "write")


def test_any_name_of_a_folder_will_do_on_a_terminal_that_lacks_its_characters(
    tmp_path: Path,
) -> None:
    folder = tmp_path / 'Größe ✓ quo\'te "x" $HOME'
    folder.mkdir()
    done = subprocess.run(
        tiny_command("copy", "run", "all", "--artifacts", "Größe ✓"),
        cwd=folder,
        env=environment(PYTHONIOENCODING="ascii"),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"\\u2713" in done.stdout
    assert (folder / "Größe ✓/report.html").is_file()
