from __future__ import annotations

import signal
import subprocess
from pathlib import Path

from children import ends_soon, tiny

from pipeline.core.store import Store
from pipeline.results import history


def test_an_interrupted_run_is_exit_code_130_and_leaves_nothing_half(
    sleeper: tuple[subprocess.Popen[str], int], tmp_path: Path
) -> None:
    process, stage = sleeper
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "interrupted; what was done before stays"
    assert ends_soon(stage)
    assert not list((tmp_path / "artifacts").glob(".new-*"))
    assert Store(tmp_path / "artifacts").read("write")
    (run,) = history.read(tmp_path / "artifacts")[0]
    assert (run.state, run.ended_at) == ("interrupted", "copy")


def test_a_killed_run_takes_its_stage_along_and_the_next_run_goes_on(
    sleeper: tuple[subprocess.Popen[str], int], tmp_path: Path
) -> None:
    process, stage = sleeper
    process.kill()
    process.wait()
    assert ends_soon(stage)
    done = tiny("copy", "run", "all", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("write      fresh, skipped\ncopy       starts (missing)\n")
    assert not list((tmp_path / "artifacts").glob(".new-*"))


def test_a_second_run_is_told_who_holds_the_folder(
    sleeper: tuple[subprocess.Popen[str], int], tmp_path: Path
) -> None:
    done = tiny("copy", "run", "all", cwd=tmp_path)
    assert done.returncode == 1
    assert f"in use by process {sleeper[0].pid} on " in done.stderr
    assert ": pipeline run all" in done.stderr
    assert tiny("copy", "status", cwd=tmp_path).stdout.startswith("write      fresh\n")
