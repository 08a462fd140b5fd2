"""What an earlier call left: trials cut off, controls that failed, a database in trouble."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
import sqlalchemy
from arithmetic import Arithmetic, driver, result

from pipeline.search import results
from pipeline.search.job import Job
from pipeline.search.results import find
from pipeline.search.study import ENQUEUED, FILE
from stages.errors import EngineError, SettingsError

WRITES = ("INSERT", "UPDATE", "DELETE")
MOST_LIVES = 60


def dies_after(writes: int) -> None:
    """From now on this process is killed instead of committing more than so many writes."""
    done = 0

    @sqlalchemy.event.listens_for(sqlalchemy.Engine, "before_cursor_execute")
    def note(connection: sqlalchemy.Connection, cursor: object, statement: str, *_: object) -> None:
        if statement.startswith(WRITES):
            connection.info["wrote"] = True

    @sqlalchemy.event.listens_for(sqlalchemy.Engine, "commit")
    def count(connection: sqlalchemy.Connection) -> None:
        nonlocal done
        if connection.info.pop("wrote", False):
            if done == writes:
                os.kill(os.getpid(), signal.SIGKILL)
            done += 1


def life(folder: Path, *overrides: str) -> int:
    """How a process ended that searched, and that was killed after its second write."""
    if pid := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try:
        dies_after(2)
        search = driver(folder, Arithmetic(work=fails_at_first), *overrides)
        search.run()
        found = find(search.study.trials(), search.settings)
        search.test(results.winners(found, search.settings))
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(1)


def fails_at_first(job: Job) -> object:
    """Once, of the first trial that is no control."""
    if job.trial > 1 and not (job.root / "failed").exists():
        (job.root / "failed").touch()
        raise EngineError("no engine")
    return result(job)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_search_that_is_killed_after_every_second_write_comes_to_the_same_end(tmp_path):
    budget = ("search.max_p50_ms=0.05", "search.rungs=[0.0, 1.0]")
    knobs = 'search.knobs={"prune.criterion" = ["l1", "l2"], "prune.ratio" = [0.0, 0.4, 0.7, 0.8]}'
    options = ("search.trials=4", *budget, knobs)
    driver(tmp_path, Arithmetic(), *options)
    ended = -signal.SIGKILL
    lives = 0
    while ended == -signal.SIGKILL and lives < MOST_LIVES:
        ended, lives = life(tmp_path, *options), lives + 1
    assert ended == 0
    assert lives > 12
    search = driver(tmp_path, Arithmetic(), *options)
    trials = search.study.trials()
    as_set, unpruned, *others = trials
    assert len(others) == 2
    assert as_set.values == {"prune.criterion": "l2", "prune.ratio": 0.4}
    assert unpruned.values == {"prune.criterion": "l2", "prune.ratio": 0.0}
    assert as_set.state == unpruned.state == "complete"
    assert sum(ENQUEUED in each.user_attrs for each in storage(tmp_path).trials) == 2
    assert len({str(sorted(each.values.items())) for each in trials}) == 4
    assert all(each.values.keys() == as_set.values.keys() for each in others)
    for trial in trials:
        assert trial.state in ("complete", "stopped")
        assert [each.rung for each in trial.rungs] == [0, 1][: 1 + (trial.state == "complete")]
        assert trial.reason is None
    found = find(trials, search.settings)
    winners = {each.number for each in results.winners(found, search.settings)}
    assert {each.number for each in trials if each.tested} == winners
    assert misses_told(tmp_path).keys() == {
        each.number for each in trials if each.last.latency.ratio > 0.5
    }


def misses_told(folder: Path) -> dict[int, dict[str, float]]:
    """What Optuna knows of missed budgets, by trial."""
    told = {each.number: each.constraints for each in storage(folder).trials}
    return {number: missed for number, missed in told.items() if missed}


def storage(folder: Path) -> optuna.Study:
    return optuna.load_study(study_name="s", storage=f"sqlite:///{folder / FILE}")


def test_a_trial_that_was_cut_off_before_it_had_values_gets_some_that_no_other_has(tmp_path):
    knobs = 'search.knobs={"prune.ratio" = [0.4, 0.0]}'
    driver(tmp_path, Arithmetic(), "search.trials=9", knobs).run()
    storage(tmp_path).ask()
    search = driver(tmp_path, place := Arithmetic(), "search.trials=9", knobs)
    search.run()
    assert place.started == []
    assert [each.values for each in search.study.trials()] == [
        {"prune.ratio": 0.4},
        {"prune.ratio": 0.0},
    ]


@contextlib.contextmanager
def refused(folder: Path, event: str) -> Iterator[None]:
    """The database fails where `event` would happen, and nowhere else."""
    with contextlib.closing(sqlite3.connect(folder / FILE)) as database:
        database.executescript(
            f"CREATE TRIGGER refused BEFORE {event} BEGIN INSERT INTO nowhere VALUES (1); END"
        )
        yield
        database.executescript("DROP TRIGGER refused")


def test_a_database_in_trouble_ends_the_search_and_fails_no_trial(tmp_path):
    search = driver(tmp_path, Arithmetic(), "search.trials=1")
    message = "search.storage: .* cannot be used: .*no such table"
    with (
        refused(tmp_path, "INSERT ON trial_values"),
        pytest.raises(SettingsError, match=message) as caught,
    ):
        search.run()
    assert caught.value.hint.startswith("the trials so far are as they were")
    search = driver(tmp_path, place := Arithmetic(), "search.trials=1")
    assert [each.state for each in search.study.trials()] == ["running"]
    search.run()
    assert place.started == []
    assert [each.state for each in search.study.trials()] == ["complete"]


def first_fails(job: Job) -> object:
    if job.trial == 0:
        raise EngineError("no package")
    return result(job)


def test_a_control_that_failed_is_tried_again_by_the_next_call(tmp_path):
    driver(tmp_path, Arithmetic(work=first_fails), "search.trials=2").run()
    for trials in (4, 6):
        search = driver(tmp_path, Arithmetic(), f"search.trials={trials}")
        search.run()
    tried = search.study.trials()
    alike = [each for each in tried if each.values == search.controls[0].values]
    assert [(each.number, each.state) for each in alike] == [(0, "failed"), (2, "complete")]
    assert len(tried) == 6
    found = find(tried, search.settings, controls=search.controls)
    assert {number: each.kind for number, each in found.control.items()} == {
        1: "unpruned",
        2: "as_set",
    }


def test_so_it_is_where_the_same_call_has_no_trial_left_and_then_no_more(tmp_path):
    driver(tmp_path, Arithmetic(work=first_fails), "search.trials=3").run()
    for _ in range(2):
        search = driver(tmp_path, Arithmetic(), "search.trials=3")
        search.run()
    *before, again = search.study.trials()
    assert [each.state == "failed" for each in before] == [True, False, False]
    assert (again.values, again.state) == (search.controls[0].values, "complete")
