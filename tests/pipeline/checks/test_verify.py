from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_line
from children import tiny

from pipeline.checks.verify import check
from pipeline.core.store import Store

PLAN = tiny_line.PLAN


@pytest.fixture
def artifacts(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished / "artifacts", tmp_path / "artifacts"))


def damaged(artifacts: Path) -> list[str]:
    return [each.what for each in check(Store(artifacts, PLAN), PLAN) if each.faults]


def flip(file: Path) -> None:
    """One bit, as a disk does it: size and times stay."""
    stat, raw = file.stat(), bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 4
    with file.open("r+b") as stream:
        stream.write(raw)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def truncate(file: Path) -> None:
    os.truncate(file, 3)


@pytest.mark.parametrize("harm", [flip, truncate, Path.unlink])
@pytest.mark.parametrize(
    ("file", "what"),
    [
        ("write/text.txt", "write"),
        ("write/folder/deep.txt", "write"),
        ("join/joined.txt", "join"),
    ],
)
def test_whatever_happens_to_a_recorded_file_is_named(
    artifacts: Path, harm: Callable[[Path], None], file: str, what: str
) -> None:
    assert damaged(artifacts) == []
    harm(artifacts / file)
    assert damaged(artifacts) == [what]


def test_damage_of_a_record_a_line_of_the_history_and_the_report_is_named(artifacts: Path) -> None:
    flip(artifacts / "copy/record.json")
    flip(artifacts / "history.jsonl")
    flip(artifacts / "report.json")
    assert damaged(artifacts) == ["copy", "history", "report"]


def test_the_command_says_what_renews_the_damage(artifacts: Path) -> None:
    sound = tiny("copy", "verify", cwd=artifacts.parent)
    assert sound.returncode == 0
    assert "write      2 files    sound\n" in sound.stdout
    flip(artifacts / "write/text.txt")
    done = tiny("copy", "verify", cwd=artifacts.parent)
    assert done.returncode == 1
    assert "artifacts/write/text.txt changed on disk\n" in done.stdout
    assert done.stderr == "error: not as it was written: write\nhint: run: pipeline run write\n"


def test_a_flipped_bit_that_no_time_tells_of_is_found_before_a_stage_reads_it(
    artifacts: Path,
) -> None:
    flip(artifacts / "write/text.txt")
    done = tiny("copy", "run", "copy", "--force", cwd=artifacts.parent)
    assert done.returncode == 1
    assert "write/text.txt changed on disk; copy does not read it" in done.stderr


def test_a_folder_without_a_run_is_not_called_sound(tmp_path: Path) -> None:
    done = tiny("copy", "verify", cwd=tmp_path)
    assert done.returncode == 1
    assert "error: nothing to verify: no run has left anything in 'artifacts'" in done.stderr
