"""benchmarks/soak.py on the tiny line, and scaled down."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
sys.path += [str(ROOT / "benchmarks"), str(ROOT / "tests/pipeline")]

import soak  # noqa: E402
import soak_flips  # noqa: E402
import soak_fuzz  # noqa: E402
import soak_kills  # noqa: E402
import tiny_line  # noqa: E402
from children import environment, tiny_command  # noqa: E402


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[soak_kills.Line, list[Any]]:
    """A tiny line that was killed five times, and what was lost."""
    root = tmp_path_factory.mktemp("soak") / "artifacts"
    line = soak_kills.Line(tiny_command("copy", "run", "all"), tiny_line.PLAN, root, 1.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
        tries = list(soak_kills.kill_runs(line, 5, seed=0))
        # Where the last kill fell behind the last stage, nothing was left to do, and no line of the
        # history was written: a run with another seed writes one for the flips.
        assert line.start(99, root.with_name("last.log")).wait() == 0
        return line, tries


def faults_of(tries: soak.Tries) -> list[str]:
    return [fault for _, faults in tries for fault in faults]


def test_nothing_is_lost_in_kills(killed: tuple[soak_kills.Line, list[Any]]) -> None:
    _, tries = killed
    assert sum(kind.startswith("killed in ") for kind, _ in tries) == 5
    assert tries[-1][0] == "not killed, at the end"
    assert faults_of(tries) == []


def test_no_flip_goes_unnoticed(killed: tuple[soak_kills.Line, list[Any]]) -> None:
    line, _ = killed
    tries = list(soak_flips.flip_bits(line.root, line.plan, 50, seed=0))
    assert {kind for kind, _ in tries} == set(soak_flips.KINDS)
    assert faults_of(tries) == []


def test_what_does_go_unnoticed_is_told(
    killed: tuple[soak_kills.Line, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    line, _ = killed
    monkeypatch.setattr(soak_flips, "_sound", lambda *_: "")
    account = soak.Account()
    account.take("flips", soak_flips.flip_bits(line.root, line.plan, 5, seed=1))
    assert account.failures
    assert all("pipeline verify does not name it" in each for each in account.failures)
    assert f"| **flips** | **all** | **5** | **{len(account.failures)}** |" in account.table()


def test_what_a_kill_would_lose_is_told(killed: tuple[soak_kills.Line, list[Any]]) -> None:
    line, _ = killed
    before = soak_kills.snapshot(line)
    assert soak_kills._check(line, before) == []
    (line.root / soak_kills.FOREIGN).write_text("")
    lost = soak_kills._check(line, before)
    (line.root / soak_kills.FOREIGN).write_text("mine")
    assert lost == ["mine/letter.txt is not what it was"]


def test_random_settings_are_read_or_refused(tmp_path: Path) -> None:
    tries = list(soak_fuzz.fuzz_settings(tmp_path, 300, seed=0))
    assert {kind for kind, _ in tries} == {"file", "--set"}
    assert faults_of(tries) == []


def test_damaged_images_and_archives_are_read_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    tries = list(soak_fuzz.fuzz_inputs(tmp_path, 200, seed=0))
    assert len({kind for kind, _ in tries}) == 15
    assert faults_of(tries) == []


def test_an_error_that_is_no_refusal_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soak_fuzz.config, "load", lambda *_: [][0])
    tries = list(soak_fuzz.fuzz_settings(tmp_path, 1, seed=0))
    assert "IndexError: list index out of range" in faults_of(tries)[0]
