from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from arithmetic import Arithmetic, driver, result

from pipeline.search import results, sentences, study, tables
from pipeline.search.driver import MOST_LOST
from pipeline.search.job import Job
from pipeline.search.places import Lost
from pipeline.search.results import find
from pipeline.search.searching import Searched
from stages.errors import DataError, EngineError, NothingPruned, UserError


def states(folder: Path, *overrides: str) -> Counter[str]:
    return Counter(each.state for each in driver(folder, Arithmetic(), *overrides).study.trials())


def rungs(place: Arithmetic) -> dict[int, list[int | None]]:
    found: dict[int, list[int | None]] = {}
    for job in place.started:
        found.setdefault(job.trial, []).append(job.rung)
    return found


def test_a_search_ends_with_a_front_that_no_trial_beats_and_tests_it_alone(tmp_path):
    place = Arithmetic(slots=2)
    search = driver(tmp_path, place, "search.trials=12", "search.winners=3")
    search.run()
    trials = search.study.trials()
    assert len(trials) == 12
    assert {each.state for each in trials} == {"complete", "stopped"}
    for trial in trials:
        wanted = [0, 1, 2] if trial.state == "complete" else [0, 1, 2][: len(trial.rungs)]
        assert rungs(place)[trial.number] == wanted
    found = find(trials, search.settings, search.study.importances(), search.controls)
    best = {trial.number for trial in results.front(found, search.settings)}
    complete = [(each.number, each.last.top1, each.last.latency.ratio) for each in found.complete]
    assert best == {
        number
        for number, top1, ratio in complete
        if not any(a >= top1 and b <= ratio and (a, b) != (top1, ratio) for _, a, b in complete)
    }
    winners = results.winners(found, search.settings)
    search.test(winners)
    search.test([search.study.trial(each.number) for each in winners])
    tested = Counter(job.trial for job in place.started if job.rung is None)
    assert tested == dict.fromkeys((each.number for each in winners), 1)
    assert {each.number for each in search.study.trials() if each.tested} == tested.keys()


def test_the_line_as_it_is_set_and_unpruned_come_first_and_are_never_stopped(tmp_path):
    search = driver(tmp_path, Arithmetic(), "search.trials=6", "prune.ratio=0.8")
    search.run()
    first, second, *_ = search.study.trials()
    assert first.values == {"prune.ratio": 0.8, "prune.criterion": "l2"}
    assert second.values == {"prune.ratio": 0.0, "prune.criterion": "l2"}
    assert first.state == second.state == "complete"


def test_a_latency_target_is_met_once_and_not_again_at_every_rung(tmp_path):
    """Timed again, a trial would be another network at each rung, and its table made again."""
    knobs = 'search.knobs={"prune.target_latency_ratio" = {low = 0.3, high = 0.6}}'

    def decides(job: Job) -> object:
        found = result(job)
        widths = {"conv1": 8} if job.rung == 0 else {}
        return found.model_copy(update={"widths": widths})

    place = Arithmetic(work=decides)
    search = driver(tmp_path, place, knobs, "search.trials=2", "search.kept_share=0.99")
    search.run()
    first, *later = [job.settings["prune"] for job in place.started if job.trial == 1]
    trial = search.study.trial(1)
    assert 0.3 <= first["target_latency_ratio"] == trial.values["prune.target_latency_ratio"]
    assert first["widths"] == {}
    assert [(each["target_latency_ratio"], each["widths"]) for each in later] == [
        (None, {"conv1": 8})
    ] * 2
    found = find(search.study.trials(), search.settings, (), search.controls)
    rows = tables.everything(Searched(tmp_path, found, search.settings)).rows
    assert rows[1][-1].startswith("prune.target_latency_ratio 0.")


def test_a_search_that_was_killed_goes_on_at_the_rung_where_it_was(tmp_path):
    def dies(job: Job) -> object:
        if (job.trial, job.rung) == (2, 0):
            raise KeyboardInterrupt
        return result(job)

    with pytest.raises(KeyboardInterrupt):
        driver(tmp_path, Arithmetic(work=dies), "search.trials=5").run()
    assert states(tmp_path) == {"complete": 2, "running": 1}
    place = Arithmetic()
    driver(tmp_path, place, "search.trials=5").run()
    assert min(rungs(place)) == 2
    assert rungs(place)[2][0] == 0
    assert sum(states(tmp_path).values()) == 5
    assert "running" not in states(tmp_path)


def test_a_trial_that_fails_is_told_and_ends_nothing(tmp_path):
    def fails(job: Job) -> object:
        if job.trial == 2:
            raise EngineError("no engine\ncan be built", "hint")
        return result(job)

    search = driver(tmp_path, Arithmetic(work=fails), "search.trials=4")
    search.run()
    failed = search.study.trials()[2]
    assert (failed.state, failed.reason) == ("failed", "no engine can be built (hint)")
    assert len(search.study.trials()) == 4


def lost_at(trial: int, rung: int | None, times: int) -> Arithmetic:
    left = iter([True] * times)

    def work(job: Job) -> object:
        is_lost = (job.trial, job.rung) == (trial, rung) and next(left, False)
        return Lost(job, "node 7 was lost") if is_lost else result(job)

    return Arithmetic(slots=2, work=work)


def test_a_rung_whose_place_is_lost_runs_again_and_nothing_else_does(tmp_path):
    place = lost_at(1, 1, MOST_LOST)
    driver(tmp_path, place, "search.trials=2").run()
    assert rungs(place) == {0: [0, 1, 2], 1: [0, *([1] * (1 + MOST_LOST)), 2]}
    assert states(tmp_path) == {"complete": 2}


def test_a_trial_that_is_lost_again_and_again_has_failed(tmp_path):
    search = driver(tmp_path, lost_at(1, 0, 1 + MOST_LOST), "search.trials=2")
    search.run()
    failed = search.study.trials()[1]
    assert (failed.state, failed.reason) == ("failed", "node 7 was lost")


def test_a_winner_whose_place_is_lost_is_tested_all_the_same(tmp_path):
    place = lost_at(0, None, 1)
    search = driver(tmp_path, place, "search.trials=2")
    search.run()
    search.test(search.study.trials())
    assert [each.tested is not None for each in search.study.trials()] == [True, True]
    assert rungs(place)[0].count(None) == 2


def test_values_that_do_not_go_together_are_a_failed_trial(tmp_path):
    knobs = 'search.knobs={"prune.method" = ["channels", "2:4"], "prune.max_accuracy_drop" = [1.0]}'
    search = driver(tmp_path, Arithmetic(), "search.trials=2", knobs)
    search.run()
    reasons = {each.reason for each in search.study.trials() if each.state == "failed"}
    assert reasons == {
        "prune.max_accuracy_drop: got 1.0, expected none, for prune.method is '2:4' (all settings "
        "and their values: pipeline config)"
    }


FIT_TOGETHER_NEVER = (
    'search.knobs={"prune.method" = ["2:4"], "prune.max_accuracy_drop" = {low = 0.5, high = 2.0}}'
)


def test_where_no_values_go_together_the_first_trials_end_the_search(tmp_path):
    options = ("search.hours=1", "search.trials=40", FIT_TOGETHER_NEVER)
    with pytest.raises(UserError, match=r"all 3 trials failed, the last: prune\.max_"):
        driver(tmp_path, Arithmetic(), *options).run()


def test_where_others_were_measured_before_its_hours_do(tmp_path):
    driver(tmp_path, Arithmetic(), "search.trials=1").run()
    options = ("search.hours=1", "search.trials=40", FIT_TOGETHER_NEVER)
    search, now = driver(tmp_path, Arithmetic(), *options), iter(range(0, 10**6, 600))
    search.clock = lambda: float(next(now))
    search.run()
    assert states(tmp_path) == {"complete": 1, "failed": 5}


def test_a_ratio_that_removes_no_channel_is_a_trial_of_the_unpruned_network(tmp_path):
    knobs = 'search.knobs={"prune.ratio" = [0.4, 0.0, 0.05]}'

    def work(job: Job) -> object:
        if job.settings["prune"]["ratio"] == 0.05:
            raise NothingPruned("prune.ratio 0.05 removes no channel: of 32 channels", "hint")
        return result(job)

    place, more = Arithmetic(work=work), ("search.trials=3", "search.kept_share=0.99", knobs)
    search = driver(tmp_path, place, *more)
    search.run()
    _, unpruned, small = search.study.trials()
    assert (small.state, small.values) == ("complete", {"prune.ratio": 0.05})
    assert small.unpruned == "prune.ratio 0.05 removes no channel: of 32 channels"
    assert [each.top1 for each in small.rungs] == [each.top1 for each in unpruned.rungs]
    first, *others = [job.settings for job in place.started if job.trial == small.number]
    alike = [job.settings for job in place.started if job.trial == unpruned.number]
    assert first not in alike
    assert others == alike
    found = find(search.study.trials(), search.settings, controls=search.controls)
    searched = Searched(tmp_path, found, search.settings)
    assert (
        f"Trial {small.number} is the unpruned network: so small a ratio removes no channel."
        in sentences.verdict(searched)
    )
    assert tables.everything(searched).rows[2][-1] == "prune.ratio 0.05: removes no channel"


def test_an_engine_that_is_timed_twice_does_not_beat_itself(tmp_path):
    """A ratio that removes no channel and none at all: whatever the clock says, they are equal."""
    knobs = 'search.knobs={"prune.ratio" = [0.05, 0.0]}'
    noise = iter([1.0, 0.9, 1.1, 0.8])

    def work(job: Job) -> object:
        ratio = job.settings["prune"]["ratio"]
        if ratio == 0.05:
            raise NothingPruned("prune.ratio 0.05 removes no channel", "hint")
        found, by = result(job), next(noise)
        latency = found.latency.model_copy(update={"ratio": by})
        return found.model_copy(update={"latency": latency, "memory_mib": 30 + by})

    options = ("search.trials=2", "search.rungs=[0.0, 1.0]", "prune.ratio=0.05", knobs)
    search = driver(tmp_path, Arithmetic(work=work), *options)
    search.run()
    rungs = [rung for trial in search.study.trials() for rung in trial.rungs]
    assert len(rungs) == 4
    assert {(each.latency.ratio, each.memory_mib) for each in rungs} == {(1.0, 31.0)}
    found = find(search.study.trials(), search.settings, controls=search.controls)
    searched = Searched(tmp_path, found, search.settings)
    assert found.front == (0,)
    assert [row[1] for row in tables.everything(searched).rows] == ["front", "as trial 0"]
    said = sentences.verdict(searched)
    assert "Trial 0, the line as it is set, is on the front." in said
    assert (
        "Trial 1, the line unpruned, is the same engine as trial 0, which is on the front." in said
    )


def test_where_the_data_cannot_be_read_the_search_ends_and_loses_no_trial(tmp_path):
    def fails(job: Job) -> object:
        raise DataError("cannot read 'd.npz'")

    with pytest.raises(DataError):
        driver(tmp_path, Arithmetic(work=fails), "search.trials=3").run()
    assert states(tmp_path) == {"running": 1}


def test_if_the_first_trials_all_fail_the_search_ends_with_the_reason(tmp_path):
    def fails(job: Job) -> object:
        raise EngineError("no engine")

    place = Arithmetic(work=fails)
    with pytest.raises(UserError, match="all 3 trials failed, the last: no engine"):
        driver(tmp_path, place, "search.trials=30").run()
    assert len(place.started) == 3


def test_after_its_hours_no_rung_begins_any_more(tmp_path):
    place, now = Arithmetic(), iter(range(0, 10**6, 600))
    search = driver(tmp_path, place, "search.hours=1")
    search.clock = lambda: float(next(now))
    search.run()
    assert len(place.started) == 5
    assert "running" in states(tmp_path)


def test_no_trial_repeats_another_and_where_all_were_tried_the_search_ends(tmp_path):
    knobs = 'search.knobs={"prune.ratio" = [0.0, 0.4], "prune.criterion" = ["l1", "l2"]}'
    search = driver(tmp_path, Arithmetic(), "search.trials=30", knobs)
    search.run()
    tried = [tuple(each.values.items()) for each in search.study.trials()]
    assert len(tried) == len(set(tried)) == 4


def test_every_combination_is_tried_once_and_then_the_search_ends(tmp_path, monkeypatch):
    """Draws alone would end it as soon as they repeat themselves a few times."""
    monkeypatch.setattr(study, "MOST_REPEATS", 1)
    knobs = '"prune.ratio" = {low = 0.1, high = 0.3, step = 0.1}, "prune.epochs" = [1, 2, 3]'
    # Optuna draws 0.30000000000000004, which is no other value than that of the line.
    line = ("prune.ratio=0.3", "prune.epochs=1")
    options = (f"search.knobs={{{knobs}}}", *line, "search.trials=50", "search.rungs=[1.0]")
    search = driver(tmp_path, Arithmetic(), *options)
    search.run()
    trials = search.study.trials()
    assert len({str(each.values) for each in trials}) == len(trials) == 9
    found = find(trials, search.settings)
    assert found.is_exhausted
    assert not find(trials[:-1], search.settings).is_exhausted
    (said, *_) = sentences.verdict(Searched(tmp_path, found, search.settings))
    assert said.endswith("Every combination of the knobs has been tried.")
