"""Objectives and budgets in a search: what is not measured, and what misses them."""

from __future__ import annotations

import optuna
import pytest
from arithmetic import Arithmetic, driver, result

from pipeline.search import results, tables
from pipeline.search.job import Job
from pipeline.search.live import Lines
from pipeline.search.results import find
from pipeline.search.searching import Searched
from pipeline.search.study import FILE


def test_a_trial_whose_memory_was_not_measured_fails_alone_and_lends_nothing(tmp_path):
    """The process that measures it may die once, of an engine that another trial has too."""

    def work(job: Job) -> object:
        memory = None if job.trial == 2 else 30.0 + job.trial
        timed = {"timed": "0" * 64} if job.trial in (2, 3) else {}
        return result(job).model_copy(update={"memory_mib": memory, **timed})

    for trials in (5, 7):
        options = (f"search.trials={trials}", 'search.objectives=["accuracy", "memory"]')
        search = driver(tmp_path, Arithmetic(work=work), *options)
        search.run()
        found = search.study.trials()
        assert len(found) == trials
        assert [each.number for each in found if each.state == "failed"] == [2]
    assert found[2].reason == (
        "search.objectives: 'memory' was not measured on litert.int8: the process in which it runs "
        "alone for that ended early (if all trials say so, leave it out of search.objectives)"
    )
    assert {each.memory_mib for each in found[3].rungs} == {33.0}


def test_what_misses_a_budget_of_latency_is_stopped_at_the_first_rung(tmp_path, capsys):
    search = driver(tmp_path, Arithmetic(), "search.trials=8", "search.max_p50_ms=0.05")
    search.shown = Lines()
    search.run()
    found = find(search.study.trials(), search.settings)
    slow = [each for each in found.trials[2:] if found.yardstick.p50_ms(each.last) > 0.05]
    assert slow
    assert {(each.state, len(each.rungs)) for each in slow} == {("stopped", 1)}
    assert all(found.trial(number).last.latency.ratio <= 0.5 for number in found.front)
    said = capsys.readouterr().out
    assert said.count("stopped: misses search.max_p50_ms 0.05: ") == len(slow)
    stopped = sum(each.state == "stopped" for each in found.trials)
    assert said.count("stopped: not among the best at its rung") == stopped - len(slow)
    table = tables.everything(Searched(tmp_path, found, search.settings))
    shown = {row[0]: row[1] for row in table.rows}
    assert {shown[str(each.number)] for each in slow} == {"stopped, misses max_p50_ms"}


def test_the_sampler_learns_by_how_much_any_trial_misses_a_budget(tmp_path):
    """Also what is stopped: else it would count as better than what is complete and misses it."""
    search = driver(tmp_path, Arithmetic(), "search.trials=8", "search.max_p50_ms=0.05")
    search.run()
    study = optuna.load_study(study_name="s", storage=f"sqlite:///{tmp_path / FILE}")
    told = {each.number: each.constraints for each in study.trials}
    for trial in search.study.trials():
        share = 2 * trial.last.latency.ratio - 1
        assert told[trial.number] == ({"max_p50_ms": pytest.approx(share)} if share > 0 else {})
    assert any(told[each.number] for each in search.study.trials() if each.state == "stopped")


def test_a_budget_that_nothing_meets_names_what_came_nearest_and_by_how_much(tmp_path):
    search = driver(tmp_path, Arithmetic(), "search.trials=4", "search.max_size_mb=0.1")
    search.run()
    found = find(search.study.trials(), search.settings)
    assert found.front == ()
    trial = min(found.trials, key=lambda each: each.last.size_bytes)
    size = trial.last.size_bytes / 1e6
    assert trial.state == "stopped"
    assert results.shortfall(found, search.settings) == (
        f"no trial meets the budgets; trial {trial.number} came nearest: search.max_size_mb 0.1: "
        f"{size:.3g} MB, {size - 0.1:.3g} too much, not trained in full: stopped at rung 0 of 2"
    )
