from __future__ import annotations

import math
from pathlib import Path

import pytest
from arithmetic import REFERENCE_MS, result, settings_of

from pipeline.search import figures, model, sentences, tables
from pipeline.search.job import Job
from pipeline.search.live import Lines, Moving
from pipeline.search.model import Trial
from pipeline.search.objectives import Yardstick, costs
from pipeline.search.results import best_of, correlations, find
from pipeline.search.searching import Searched
from stages.errors import SettingsError
from stages.measurement.alone import WAITS
from stages.numerics import proportions


def trial(number: int, *shares: float, state: str = "complete") -> Trial:
    """One whose accuracies at its rungs are these."""
    job = Job(root=".", base=".", trial=number, rung=0, settings={"prune": {"ratio": 0.4}})
    measured = result(job)
    rungs = [
        measured.model_copy(update={"rung": rung, "top1": top1}) for rung, top1 in enumerate(shares)
    ]
    return Trial(number=number, state=state, values={}, rungs=tuple(rungs))


def test_rungs_that_order_alike_correlate_and_a_stopped_trial_counts_where_it_was():
    trials = [
        trial(0, 0.1, 0.5, 0.9),
        trial(1, 0.2, 0.7, 0.8),
        trial(2, 0.3, 0.9, 0.7),
        trial(3, 0.1, 0.4, state="stopped"),
    ]
    found = {(each.lower, each.upper): each for each in correlations(trials, 3)}
    assert found[0, 2].correlation == found[1, 2].correlation == -1.0
    assert (found[0, 1].trials, found[0, 2].trials) == (4, 3)
    assert found[0, 1].correlation > 0.9


def test_the_first_rung_is_said_to_be_without_training_only_where_it_is():
    settings = settings_of("search.rungs=[0.0, 1.0]")
    plain = [trial(0, 0.1, 0.9), trial(1, 0.2, 0.8), trial(2, 0.3, 0.7)]
    met = [
        each.model_copy(
            update={"rungs": (each.rungs[0].model_copy(update={"widths": {"a": 8}}), each.rungs[1])}
        )
        for each in plain
    ]
    for trials, words in (
        (plain, "(without training)"),
        (met, "(at most one epoch, to meet a target)"),
    ):
        searched = Searched(Path(), find(trials, settings), settings)
        assert sum(words in each for each in sentences.verdict(searched)) == 1


def test_the_interval_of_the_best_of_many_is_wider_than_that_of_one():
    alone = find([trial(0, 0.9)], settings_of("search.rungs=[1.0]"))
    many = find([trial(n, 0.9) for n in range(20)], settings_of("search.rungs=[1.0]"))
    single = best_of(alone.trials[0], alone)
    assert (single.low, single.high) == pytest.approx(
        (proportions.wilson(900, 1000).low, proportions.wilson(900, 1000).high)
    )
    chosen = best_of(many.trials[0], many)
    assert chosen.low < single.low < single.high < chosen.high


def test_hours_in_which_the_machine_is_slower_change_no_milliseconds():
    first = trial(0, 0.9).last
    slow = first.latency.model_copy(
        update={"p50_ms": 3 * first.latency.p50_ms, "reference_p50_ms": 3 * REFERENCE_MS}
    )
    second = first.model_copy(update={"latency": slow})
    yardstick = Yardstick.of([first, second, first])
    assert yardstick.reference_ms == REFERENCE_MS
    assert yardstick.p50_ms(second) == yardstick.p50_ms(first)


def test_an_objective_that_was_not_measured_is_said():
    with pytest.raises(SettingsError) as caught:
        costs(trial(0, 0.9).last, ("accuracy", "energy"))
    assert caught.value.message == (
        "search.objectives: 'energy' was not measured on litert.int8: no power of a GPU was read "
        "while the engine was timed"
    )


def test_a_terminal_gets_a_line_for_each_rung_and_a_table_of_what_is_under_way(capsys):
    done = trial(3, 0.9722)
    with Moving() as shown:
        shown.started(Job(root=".", base=".", trial=4, rung=0, settings={}))
        shown.said(Job(root=".", base=".", trial=4, rung=0, settings={}), "prune")
        shown.ended(done, "goes on")
        table = shown._table()
        assert [next(iter(column.cells)) for column in table.columns][:3] == ["4", "0", "prune"]
    assert "trial 3    rung 0  97.22 %  0.640 of the reference  litert.int8  goes on" in (
        capsys.readouterr().out
    )


def test_a_log_has_a_line_for_a_wait_and_none_for_a_stage(capsys):
    job = Job(root=".", base=".", trial=4, rung=0, settings={})
    for stage in ("build", WAITS, "latency"):
        Lines().said(job, stage)
    assert capsys.readouterr().out == (
        "trial 4    waits until nothing else is timed on this machine\n"
    )


@pytest.mark.parametrize(
    ("options", "most"),
    [((), 30), (("search.hours=2",), math.inf), (("search.hours=2", "search.trials=5"), 5)],
)
def test_the_hours_end_a_search_alone_where_no_number_of_trials_is_given(options, most):
    assert settings_of(*options).search.most_trials == most


def test_the_table_says_that_engines_of_a_gpu_took_no_turns_with_the_reference():
    settings = settings_of("search.rungs=[1.0]")
    on_cpu, on_gpu = trial(0, 0.9), trial(1, 0.95)
    measured = on_gpu.last.model_copy(update={"engine": "tensorrt.fp16"})
    on_gpu = on_gpu.model_copy(update={"rungs": (measured,)})
    for trials, words in (
        ([on_cpu], "Every engine was timed in turns with it;"),
        ([on_cpu, on_gpu], "Engines on the CPU were timed in turns with it, those on a GPU right"),
    ):
        searched = Searched(Path(), find(trials, settings), settings)
        assert tables.front(searched).notes[1].startswith(words)


def test_trials_whose_latencies_meet_within_their_intervals_are_said_to_be_as_fast():
    def timed(number: int, low: float, ratio: float, high: float) -> Trial:
        own = trial(number, 0.5 + ratio)
        span = {"ratio_low": low, "ratio": ratio, "ratio_high": high}
        latency = own.last.latency.model_copy(update=span)
        rung = own.last.model_copy(update={"latency": latency, "timed": f"{number:064}"})
        return own.model_copy(update={"rungs": (rung,)})

    settings = settings_of("search.rungs=[1.0]")
    spans = ((0.14, 0.15, 0.16), (0.16, 0.17, 0.18), (0.17, 0.18, 0.2), (0.21, 0.22, 0.23))
    trials = [timed(number, *span) for number, span in enumerate(spans)]
    searched = Searched(Path(), find(trials, settings), settings)
    said = [each for each in sentences.verdict(searched) if "told apart" in each]
    assert [each.partition(" cannot")[0] for each in said] == ["Trials 0, 1 and 2"]


def with_values(number: int, top1: tuple[float, ...], **values: object) -> Trial:
    """One with values of the knobs of `prune`."""
    given = {f"prune.{name}": value for name, value in values.items()}
    state = "complete" if len(top1) == 2 else "stopped"
    return trial(number, *top1, state=state).model_copy(update={"values": given})


def test_a_trial_shows_no_value_that_its_rung_does_not_read():
    settings = settings_of("search.rungs=[0.0, 1.0]")
    trials = [
        with_values(0, (0.5,), ratio=0.6, learning_rate=0.001),
        with_values(1, (0.5, 0.9), ratio=0.6, learning_rate=0.001),
        with_values(2, (0.5, 0.9), ratio=0.0, learning_rate=0.001, criterion="taylor"),
    ]
    searched = Searched(Path(), find(trials, settings), settings)
    assert [row[-1] for row in tables.everything(searched).rows] == [
        "prune.ratio 0.6",
        "prune.ratio 0.6, prune.learning_rate 0.001",
        "prune.ratio 0",
    ]


def test_a_trial_without_the_widths_of_the_line_is_not_called_the_line():
    settings = settings_of("search.rungs=[0.0, 1.0]", "prune.widths={b1_a = 0}")
    trials = [
        with_values(0, (0.5, 0.9), widths={"b1_a": 0}, ratio=0.0),
        with_values(1, (0.5, 0.9), widths={}, ratio=0.4),
    ]
    control = model.Control(kind="as_set", values={"prune.widths": {"b1_a": 0}, "prune.ratio": 0.4})
    searched = Searched(Path(), find(trials, settings, controls=[control]), settings)
    assert [row[-1] for row in tables.everything(searched).rows] == [
        "the line as it is set",
        "prune.widths none",
    ]


def test_a_knob_with_one_value_in_all_trials_is_said_not_to_have_varied():
    settings = settings_of("search.rungs=[0.0, 1.0]")
    worth = {"prune.ratio": 1.0, "prune.criterion": 0.0, "prune.learning_rate": 0.0}
    trials = [
        with_values(0, (0.5, 0.9), ratio=0.6, criterion="l2", learning_rate=0.001),
        with_values(1, (0.5, 0.8), ratio=0.7, criterion="l2", learning_rate=0.002),
        with_values(2, (0.5,), ratio=0.7, criterion="l1", learning_rate=0.002),
    ]
    searched = Searched(Path(), find(trials, settings, [worth]), settings)
    assert set(tables.knobs(searched).rows) == {
        ("prune.ratio", "100.0"),
        ("prune.criterion", "did not vary"),
        ("prune.learning_rate", "0.0"),
    }
    drawn = [each.description for each in figures.charts(searched)][-1]
    assert "prune.criterion: did not vary; prune.learning_rate: 0 %" in drawn


def scored(number: int, score: float) -> Trial:
    """One of a regression."""
    last = trial(number, score).last.model_copy(update={"metric": "r2"})
    tested = model.Tested(top1=score - 0.01, samples=300, trained_top1=0.8)
    return Trial(
        number=number, state="complete", values={"prune.seed": number}, rungs=(last,), tested=tested
    )


def test_another_task_is_named_by_its_metric_and_gets_no_interval_from_a_count():
    settings = settings_of("search.rungs=[1.0]")
    found = find([scored(0, -0.25), scored(1, -0.5)], settings)
    assert [best_of(each, found) for each in found.trials] == [None, None]
    searched = Searched(Path(), found, settings)
    said = " ".join(sentences.verdict(searched))
    assert "Pareto front of R2, latency and size: one trial." in said
    assert "R2 -25.00 % on validation images" in said
    assert "their R2 is too high by chance; by how much is not known" in said
    assert "On 300 test images, which chose nothing, by R2: trial 0 -26.00 %" in said
    table = tables.front(searched)
    assert {"R2", "test R2"} <= set(table.columns)
    assert table.notes[2].startswith("R2 is on validation images")
    drawn = [f"{chart.title} {chart.description}" for chart in figures.charts(searched)]
    assert drawn[0].startswith("R2 against latency")
    assert "over prune.seed, R2, p50" in drawn[1]
    for text in (said, *drawn, *table.columns, *table.notes):
        assert "accura" not in text.lower()


def test_memory_and_energy_are_shown_where_they_are_objectives():
    settings = settings_of("search.rungs=[1.0]", 'search.objectives=["memory", "energy"]')
    measured = trial(0, 0.9)
    latency = measured.last.latency.model_copy(update={"millijoules": 0.01234})
    last = measured.last.model_copy(update={"memory_mib": 31.26, "latency": latency})
    trials = [measured.model_copy(update={"rungs": (last,)}), trial(1, state="failed")]
    searched = Searched(Path(), find(trials, settings), settings)
    table = tables.everything(searched)
    whole, failed = (dict(zip(table.columns, row, strict=True)) for row in table.rows)
    assert (whole["memory MiB"], whole["energy mJ"]) == ("31.3", "0.0123")
    assert (failed["memory MiB"], failed["energy mJ"]) == ("-", "-")
    assert "31.3 MiB of memory, 0.0123 mJ per call, " in " ".join(sentences.verdict(searched))
    without = tables.everything(Searched(Path(), find(trials, settings_of()), settings_of()))
    assert not {"memory MiB", "energy mJ"} & set(without.columns)


def test_memory_counts_in_whole_mebibytes():
    one = trial(0, 0.9).last.model_copy(update={"memory_mib": 31.30})
    other = one.model_copy(update={"memory_mib": 31.35})
    assert costs(one, ("memory",)) == costs(other, ("memory",)) == (31.0,)


def test_the_interval_is_of_the_most_accurate_of_the_front_where_a_better_one_misses_a_budget():
    settings = settings_of("search.rungs=[1.0]", "search.max_size_mb=0.5")
    small, large = trial(0, 0.8), trial(1, 0.9)
    last = small.last.model_copy(update={"size_bytes": 100})
    found = find([small.model_copy(update={"rungs": (last,)}), large], settings)
    (said,) = [
        each for each in sentences.verdict(Searched(Path(), found, settings)) if "too" in each
    ]
    assert said.startswith("Chosen among 2 trials")
    assert "for trial 0, the most accurate of the front (95 % interval of the best of 2," in said


def of_network(number: int, name: str, trained_top1: float) -> Trial:
    """One of another trained network, whose accuracies on test images are 0.01 lower."""
    measured = trial(number, 0.8 + number / 10)
    update = {"trained": name * 64, "trained_top1": trained_top1}
    latency = measured.last.latency.model_copy(update={"ratio": 0.1 + number})
    last = measured.last.model_copy(update={**update, "latency": latency})
    tested = model.Tested(top1=last.top1 - 0.01, samples=300, trained_top1=trained_top1 - 0.01)
    return measured.model_copy(update={"rungs": (last,), "tested": tested})


def test_where_trials_are_of_several_trained_networks_no_sentence_speaks_of_the_one():
    settings = settings_of("search.rungs=[1.0]")
    trials = [of_network(0, "a", 0.85), of_network(1, "b", 0.95)]
    searched = Searched(Path(), find(trials, settings), settings)
    said = " ".join(sentences.verdict(searched))
    assert "80.00 % on validation images (-15.00 points against the best of 2 trained netw" in said
    assert (
        "trial 0 79.00 % (its trained network 84.00 %), trial 1 89.00 % (its trained network "
        "94.00 %)." in said
    )
    reference, _, change = tables.front(searched).notes
    assert reference.startswith("p50 of the reference, the first of 2 trained networks in ONNX")
    assert change.endswith("change in points against the best of 2 trained networks.")
    one = trials[1].model_copy(update={"tested": None})
    found = find([trials[0], one], settings)
    said = " ".join(sentences.verdict(Searched(Path(), found, settings)))
    assert "trial 0 79.00 %; its trained network 84.00 %." in said
