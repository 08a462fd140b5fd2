from __future__ import annotations

import contextlib
import dataclasses
import threading
from pathlib import Path

import pytest
from tiny_line import PLAN

from pipeline import config
from pipeline.core.display import Nothing
from pipeline.core.runner import Line, run
from pipeline.core.store import Store
from pipeline.search.pool import MAKING, Pool
from stages.artifacts.file_lock import waiting
from stages.measurement.alone import alone_on_machine

STAGES = tuple(stage.name for stage in PLAN)


def bring(root: Path, pool: Pool, *overrides: str) -> dict[str, str]:
    """Run the tiny line in the folder `root`, sharing with `pool`."""
    line = Line(PLAN, config.load(None, overrides), Store(root, PLAN), {}, Nothing(), shelf=pool)
    return run(line, PLAN)


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    return Pool(tmp_path / "pool", PLAN)


def test_what_another_run_has_made_is_shared_and_only_the_rest_runs(tmp_path, pool):
    assert set(bring(tmp_path / "a", pool).values()) == {"ran"}
    assert set(bring(tmp_path / "b", pool).values()) == {"cached"}
    other = bring(tmp_path / "c", pool, "prune.ratio=0.1")
    assert (other["write"], other["copy"]) == ("cached", "ran")
    files = [tmp_path / name / "write/text.txt" for name in "abc"]
    assert len({file.stat().st_ino for file in files}) == 1
    assert Store(tmp_path / "b", PLAN).read("join") == Store(tmp_path / "a", PLAN).read("join")


def test_the_artifacts_of_the_line_itself_are_shared_too(tmp_path, pool):
    bring(tmp_path / "line", pool)
    trials = Pool(tmp_path / "other", PLAN, tmp_path / "line")
    assert set(bring(tmp_path / "trial", trials).values()) == {"cached"}


def test_what_has_changed_on_disk_is_not_lent_but_made_again(tmp_path, pool):
    bring(tmp_path / "a", pool)
    (tmp_path / "a/write/text.txt").write_text("epochs 99\n")  # the file of the pool, too
    assert bring(tmp_path / "b", pool)["write"] == "ran"
    assert (tmp_path / "b/write/text.txt").read_text() == "epochs 24\n"
    assert bring(tmp_path / "c", pool)["write"] == "cached"


def test_of_two_that_want_the_same_at_once_one_makes_it(tmp_path, pool):
    outcomes: list[dict[str, str]] = []
    threads = [
        threading.Thread(target=lambda name=name: outcomes.append(bring(tmp_path / name, pool)))
        for name in "ab"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for stage in STAGES:
        assert sorted(each[stage] for each in outcomes) == ["cached", "ran"]


def test_swept_is_what_no_folder_holds_any_more_and_nothing_that_we_did_not_make(tmp_path, pool):
    bring(tmp_path / "a", pool)
    bring(tmp_path / "b", pool, "prune.ratio=0.1")
    keys = {name: Store(tmp_path / "b", PLAN).read(name).key for name in STAGES}
    (tmp_path / "pool" / keys["join"] / "join" / "mine.txt").write_text("mine")
    for name in STAGES:
        Store(tmp_path / "b", PLAN).discard(name)
    pool.sweep(kept=("write",))
    left = {name: list((tmp_path / "pool" / keys[name] / name).glob("*")) for name in STAGES}
    assert [file.name for file in left["write"]]
    assert left["copy"] == []
    assert left["join"] == []
    assert [f.read_text() for f in (tmp_path / "pool").rglob("mine.txt")] == ["mine"]
    assert set(bring(tmp_path / "c", pool).values()) == {"cached"}


def test_what_is_being_made_is_no_leftover(tmp_path, pool):
    drafts = [tmp_path / "pool" / (digit * 64) / ".new-write-99" for digit in "01"]
    for draft in drafts:
        draft.mkdir(parents=True)
    with waiting(drafts[0].parent / MAKING):
        pool.recover()
    assert [draft.exists() for draft in drafts] == [True, False]


def test_a_stage_that_times_engines_says_that_it_waits_for_the_machine(tmp_path):
    told, holder = [], contextlib.ExitStack()
    holder.enter_context(alone_on_machine())

    def on_wait() -> None:
        told.append("waits")
        holder.close()

    pool = Pool(tmp_path / "pool", PLAN, on_wait=on_wait)
    for process in ("tensorflow", "engine"):
        stage = dataclasses.replace(PLAN[0], process=process)
        with pool.lent(stage, "0" * 64, Store(tmp_path / "a", PLAN)) as is_lent:
            assert not is_lent
            assert told == (["waits"] if process == "engine" else [])
