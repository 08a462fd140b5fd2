from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from children import call, tiny


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A folder in which the measured line ran twice, with other settings, and the two ids."""
    folder = tmp_path_factory.mktemp("twice")
    ids = []
    for ratio in ("0.5", "0.25"):
        done = tiny("measures", "run", "all", "--set", f"prune.ratio={ratio}", cwd=folder)
        assert done.returncode == 0, done.stderr
        ids += re.findall(r"^history: run (\w{8})$", done.stdout, re.MULTILINE)
    return folder, ids


def test_every_run_that_did_something_adds_a_line_to_the_history(
    twice: tuple[Path, list[str]],
) -> None:
    folder, ids = twice
    before = (folder / "artifacts/history.jsonl").read_bytes()
    assert len(before.splitlines()) == len(ids) == 2
    again = tiny("measures", "run", "all", "--set", "prune.ratio=0.25", cwd=folder)
    assert again.returncode == 0
    assert "history" not in again.stdout
    assert (folder / "artifacts/history.jsonl").read_bytes() == before


def test_the_history_shows_each_run_against_the_one_before(twice: tuple[Path, list[str]]) -> None:
    folder, ids = twice
    artifacts = ("--artifacts", str(folder / "artifacts"))
    lines = call("history", *artifacts).stdout.splitlines()
    assert [line.split()[0] for line in lines[2:4]] == ids
    assert "prune.ratio 0.5 -> 0.25" in lines[3]
    assert lines[4] == "How certain a change is: pipeline compare ID ID"
    runs = json.loads(call("history", "--format", "json", *artifacts).stdout)
    assert [run["id"] for run in runs] == ids


def test_without_a_history_the_command_says_so(tmp_path: Path) -> None:
    result = call("history", "--artifacts", str(tmp_path))
    assert result.exit_code == 0
    assert result.stdout.startswith("no run in ")
    assert json.loads(call("history", "--artifacts", str(tmp_path), "--format=json").stdout) == []


def test_a_corrupt_line_of_the_history_is_reported(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").write_text("{broken\n")
    result = call("history", "--artifacts", str(tmp_path))
    assert result.exit_code == 0
    assert "warning: left out of the history: " in result.stderr
    assert "line 1: not whole, or no JSON" in result.stderr


def test_a_history_that_cannot_be_written_does_not_spoil_the_run(tmp_path: Path) -> None:
    (tmp_path / "artifacts/history.jsonl").mkdir(parents=True)
    done = tiny("copy", "run", "all", cwd=tmp_path)
    assert done.returncode == 0
    assert "warning: cannot write to 'artifacts/history.jsonl': Is a directory; the art" in (
        done.stderr
    )


def test_two_runs_are_compared_by_id_folder_and_report(twice: tuple[Path, list[str]]) -> None:
    folder, ids = twice
    by_id = tiny("measures", "compare", *ids, cwd=folder)
    assert by_id.returncode == 0, by_id.stderr
    assert re.search(r"prune.ratio +0.5 +0.25", by_id.stdout)
    mixed = tiny("measures", "compare", "artifacts/report.json", "artifacts", cwd=folder)
    assert mixed.returncode == 0, mixed.stderr
    assert "prune.ratio" not in mixed.stdout


@pytest.mark.parametrize("ending", ["md", "json", "txt"])
def test_a_comparison_is_written_in_the_format_of_its_ending(
    twice: tuple[Path, list[str]], tmp_path: Path, ending: str
) -> None:
    folder, ids = twice
    file = tmp_path / f"out.{ending}"
    compare = ("compare", *ids, "--artifacts", str(folder / "artifacts"))
    done = call(*compare, "--output", str(file))
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "")
    shown = call(*compare, "--format", "table" if ending == "txt" else ending)
    assert shown.stdout == file.read_text()
    assert "litert.int8" in shown.stdout


def test_a_run_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    result = call("compare", "nothing", "here", "--artifacts", str(tmp_path))
    assert result.exit_code == 1
    assert result.stderr.startswith("error: no run 'nothing': neither a folder nor a file, nor")
    assert result.stderr.endswith("\nhint: known ids: pipeline history\n")
    assert "Traceback" not in result.stderr


def test_a_run_that_failed_is_in_the_history_with_its_reason(tmp_path: Path) -> None:
    failed = tiny("refuses", "run", "all", "--set", "prune.ratio=0.25", cwd=tmp_path)
    assert failed.returncode == 2
    artifacts = ("--artifacts", str(tmp_path / "artifacts"))
    (run,) = json.loads(call("history", "--format", "json", *artifacts).stdout)
    assert (run["state"], run["ended_at"]) == ("failed", "copy")
    assert run["error"] == "got 3 images, expected at least 10"
    assert run["settings"]["prune"]["ratio"] == 0.25
    assert "failed in copy" in call("history", *artifacts).stdout


def test_runs_with_and_without_results_can_be_compared(tmp_path: Path) -> None:
    for _ in range(2):
        tiny("refuses", "run", "all", "--force", cwd=tmp_path)
    artifacts = ("--artifacts", str(tmp_path / "artifacts"))
    ids = [run["id"] for run in json.loads(call("history", "--format=json", *artifacts).stdout)]
    assert call("compare", *ids, *artifacts).exit_code == 0


def test_a_run_that_could_not_begin_leaves_no_line(tmp_path: Path) -> None:
    refused = tiny("copy", "run", "join", cwd=tmp_path)
    assert refused.returncode == 1
    assert not (tmp_path / "artifacts/history.jsonl").exists()


def test_what_an_address_hides_stands_in_no_file_and_in_no_line(tmp_path: Path) -> None:
    address = "http://me:hunter2@127.0.0.1:9/a.npz?token=hunter2&X-Sig=hunter2"
    done = tiny("says_its_address", "run", "all", "--set", f"data.path={address}", cwd=tmp_path)
    assert done.returncode == 2
    assert "http://***@127.0.0.1:9/a.npz?token=***&X-Sig=*** does not answer" in done.stderr
    assert "fetch http://***@127.0.0.1:9" in done.stdout
    written = [file for file in (tmp_path / "artifacts").rglob("*") if file.is_file()]
    assert any(b"***" in file.read_bytes() for file in written if file.suffix == ".log")
    assert not [file for file in written if b"hunter2" in file.read_bytes()]
    assert "hunter2" not in done.stdout + done.stderr
