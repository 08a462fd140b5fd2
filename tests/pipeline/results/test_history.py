from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from children import environment

from pipeline.core.seal import opened, sealed
from pipeline.results import history
from pipeline.results.summary import Summary, summarize
from stages.errors import ArtifactError
from tests.pipeline.records import report_of


def summary(model: str | None = None) -> Summary:
    return summarize(report_of()).model_copy(update={"model": model})


def test_runs_are_read_back_in_the_order_of_their_lines(tmp_path: Path) -> None:
    ids = [history.append(tmp_path, summary(model=f"network {n}")) for n in range(3)]
    runs, faults = history.read(tmp_path)
    assert [run.id for run in runs] == ids
    assert [run.model for run in runs] == ["network 0", "network 1", "network 2"]
    assert faults == []
    assert runs[0].stages == summary().stages
    assert len((tmp_path / history.FILE).read_text().splitlines()) == 3


def test_without_a_file_there_are_no_runs(tmp_path: Path) -> None:
    assert history.read(tmp_path) == ([], [])


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("{broken", "not whole, or no JSON"),
        ('"text"', "holds no JSON object"),
        ("{}", "has version None, expected 2"),
        (
            '{"version": 1, "engine": 3}',
            "time: Field required; engine: Input should be a valid string; "
            "stages: Field required and 5 more",
        ),
        (b"\xff\xfe".decode("latin-1"), "not whole, or no JSON"),
    ],
)
def test_a_corrupt_line_is_reported_and_the_others_are_read(
    tmp_path: Path, line: str, fault: str
) -> None:
    history.append(tmp_path, summary())
    with (tmp_path / history.FILE).open("a", encoding="latin-1") as file:
        file.write(f"{line}\n\n")
    history.append(tmp_path, summary())
    runs, faults = history.read(tmp_path)
    assert len(runs) == 2
    assert faults == [f"{tmp_path / history.FILE}, line 2: {fault}"]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"version": 3}, "has version 3, expected 2"),
        (
            {"engines": {"litert.int8": 3}},
            "engines.litert.int8: Input should be a valid dictionary or instance of EngineSummary",
        ),
        ({"settings": None}, "settings: Input should be a valid dictionary"),
    ],
)
def test_a_line_of_another_kind_is_reported(
    tmp_path: Path, change: dict[str, Any], fault: str
) -> None:
    history.append(tmp_path, summary())
    entry = opened((tmp_path / history.FILE).read_bytes())
    (tmp_path / history.FILE).write_bytes(sealed({**entry, **change}))
    assert history.read(tmp_path) == ([], [f"{tmp_path / history.FILE}, line 1: {fault}"])


def test_a_flip_of_any_bit_of_a_line_is_reported(tmp_path: Path) -> None:
    history.append(tmp_path, summary())
    file = tmp_path / history.FILE
    whole = file.read_bytes()
    for place in range(0, len(whole) - 1, 7):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        runs, faults = history.read(tmp_path)
        assert (runs, bool(faults)) == ([], True)


def test_a_line_that_a_kill_cut_off_does_not_swallow_the_next(tmp_path: Path) -> None:
    history.append(tmp_path, summary())
    whole = (tmp_path / history.FILE).read_bytes()
    (tmp_path / history.FILE).write_bytes(whole + whole[:100])
    last = history.append(tmp_path, summary())
    runs, faults = history.read(tmp_path)
    assert [run.id for run in runs][1:] == [last]
    assert len(faults) == 1


APPEND = """
import sys
from pathlib import Path
from pipeline.results import history
from pipeline.results.summary import Summary
summary = Summary.model_validate_json(sys.stdin.read())
for _ in range(40):
    history.append(Path(sys.argv[1]), summary)
"""


def test_writers_that_do_not_know_of_each_other_keep_all_lines_whole(tmp_path: Path) -> None:
    command = [sys.executable, "-c", APPEND, str(tmp_path)]
    writers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, env=environment(), text=True)
        for _ in range(3)
    ]
    for writer in writers:
        writer.communicate(summary().model_dump_json(), timeout=300)
    runs, faults = history.read(tmp_path)
    assert (len(runs), faults) == (120, [])


def test_a_full_disk_leaves_the_history_as_it_was(tmp_path: Path) -> None:
    history.append(tmp_path, summary())
    before = (tmp_path / history.FILE).read_bytes()
    code = f"""
import resource, signal, sys
from pathlib import Path
from pipeline.results import history
from pipeline.results.summary import Summary
from stages.errors import ArtifactError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before) + 100}, {len(before) + 100}))
try:
    history.append(Path(sys.argv[1]), Summary.model_validate_json(sys.stdin.read()))
except ArtifactError as error:
    print(error.message)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        input=summary().model_dump_json(),
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith(f"cannot write to '{tmp_path / history.FILE}'")
    assert (tmp_path / history.FILE).read_bytes() == before


def test_a_history_that_is_a_folder_is_an_error_in_words(tmp_path: Path) -> None:
    (tmp_path / history.FILE).mkdir()
    with pytest.raises(ArtifactError, match="cannot write to"):
        history.append(tmp_path, summary())
    with pytest.raises(ArtifactError, match="cannot read"):
        history.read(tmp_path)


def test_a_run_is_found_by_the_beginning_of_its_id(tmp_path: Path) -> None:
    ids = [history.append(tmp_path, summary(model=str(n))) for n in range(40)]
    assert history.find(tmp_path, ids[7]).model == "7"
    unique = next(found for found in ids if sum(other.startswith(found[:3]) for other in ids) == 1)
    assert history.find(tmp_path, unique[:3]).id == unique
    with pytest.raises(ArtifactError, match=r"'' begins 40 ids"):
        history.find(tmp_path, "")


def test_an_unknown_id_is_refused_with_the_nearest_one(tmp_path: Path) -> None:
    known = history.append(tmp_path, summary())
    wrong = known[:-1] + "x"
    with pytest.raises(ArtifactError) as caught:
        history.find(tmp_path, wrong)
    assert f"no run {wrong!r}" in caught.value.message
    assert f"did you mean {known!r}?" in caught.value.message
    assert caught.value.hint == "known ids: pipeline history"


def test_a_line_and_the_name_of_a_new_file_are_on_the_disk_when_it_is_appended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []

    def log(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))

    monkeypatch.setattr(os, "fsync", log)
    history.append(tmp_path, summary())
    assert synced == [str(tmp_path / history.FILE), str(tmp_path)]
    history.append(tmp_path, summary())
    assert synced[2:] == [str(tmp_path / history.FILE)]
