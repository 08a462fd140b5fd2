from __future__ import annotations

import math

from hypothesis import example, given, reject
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline import config
from pipeline.search.rungs import Standing, at_rung, at_share, goes_on, unread
from stages.pruning.ways import way_of
from stages.settings import Settings

BASE = Settings()
STANDINGS = st.lists(
    st.builds(Standing, st.tuples(st.integers(0, 9), st.integers(0, 9)), st.just(0.0)), max_size=15
)


@given(st.integers(1, 15), st.floats(0.05, 0.95))
def test_of_a_whole_group_exactly_the_kept_share_goes_on(size, share):
    """The best ones, where each beats all that are worse."""
    group = [Standing((float(place), float(place))) for place in range(size)]
    kept = [goes_on(each, [other for other in group if other is not each], share) for each in group]
    count = math.ceil(share * size)
    assert kept == [True] * count + [False] * (size - count)


@given(st.floats(0.01, 0.99))
def test_the_first_at_a_rung_always_goes_on(share):
    assert goes_on(Standing((1.0, 1.0)), [], share)


@given(STANDINGS)
def test_what_beats_all_others_goes_on_and_what_all_others_beat_does_not(others):
    assert goes_on(Standing((-1, -1)), others, 0.1)
    if others:
        assert not goes_on(Standing((10, 10)), others, 0.5)


def test_one_that_misses_a_budget_is_stopped_however_good_it_is():
    others = [Standing((5.0, 5.0)), Standing((6.0, 6.0))]
    assert not goes_on(Standing((0.0, 0.0), violation=0.1), others, 0.5)
    assert not goes_on(Standing((0.0, 0.0), violation=0.1), [], 0.5)


@given(st.integers(0, 50), st.integers(0, 50), st.floats(0, 1))
def test_a_share_of_the_epochs_is_at_least_one_and_never_more_than_the_whole(
    prune, quantize, share
):
    whole = config.changed(BASE, {"prune.epochs": prune, "quantize.epochs": quantize})
    found = at_share(whole, share, BASE)
    for part, epochs in ((found.prune, prune), (found.quantize, quantize)):
        assert part.epochs <= epochs
        assert (part.epochs == 0) == (share == 0 or epochs == 0)
    assert at_share(whole, 1.0, BASE).prune.epochs == prune


def test_a_target_is_met_with_a_fine_tune_to_foretell_where_there_will_be_one():
    target = config.changed(BASE, {"prune.target_latency_ratio": 0.5})
    assert [at_share(target, share, BASE).prune.epochs for share in (0.0, 0.25)] == [1, 3]
    without = config.changed(target, {"prune.epochs": 0})
    assert at_share(without, 0.0, BASE).prune.epochs == 0


def test_a_budget_of_accuracy_is_judged_after_all_epochs_at_every_rung():
    """After fewer nearly every network misses it, and its trial would fail."""
    budget = config.changed(BASE, {"prune.max_accuracy_drop": 1.0, "prune.epochs": 8})
    assert [at_share(budget, share, BASE).prune for share in (0.0, 0.25)] == [
        at_share(budget, 1.0, BASE).prune
    ] * 2
    assert at_share(budget, 0.0, BASE).quantize.epochs == 0


def test_below_the_last_rung_only_what_trials_are_judged_by_is_timed():
    line = config.changed(BASE, {"search.batch_size": 8, "build.batch_sizes": [1, 8, 32]})
    first, last = (at_rung(line, rung, line) for rung in (0, 2))
    assert first.build == line.build.model_copy(update={"batch_sizes": (8,)})
    assert (last.build, last.prune.epochs) == (line.build, line.prune.epochs)
    named = config.changed(line, {"search.engine": "litert.int8"})
    build = at_rung(named, 1, named).build
    assert (build.backends, build.precisions) == (("litert",), ("int8",))
    assert at_rung(named, 2, named).build == line.build


def test_where_no_rung_trains_the_first_makes_the_build_of_the_last():
    line = config.changed(BASE, {"prune.epochs": 0, "quantize.epochs": 0})
    assert at_rung(line, 0, line) == at_rung(line, 2, line)


def test_a_knob_of_the_build_varies_at_every_rung():
    line = config.changed(BASE, {"search.knobs": {"build.batch_sizes": [[1], [1, 16]]}})
    own = config.changed(line, {"build.batch_sizes": [1, 16]})
    assert at_rung(own, 0, line).build == own.build


def test_of_an_unpruned_network_nothing_says_how_to_prune_and_it_is_one_at_every_rung():
    one = config.changed(BASE, {"prune.ratio": 0.0, "prune.criterion": "taylor"})
    other = config.changed(BASE, {"prune.ratio": 0.0, "prune.channel_multiple": 16})
    assert at_share(one, 1.0, BASE) == at_share(other, 1.0, BASE)
    assert at_share(one, 0.0, BASE).prune == at_share(other, 1.0, BASE).prune
    target = config.changed(one, {"prune.target_latency_ratio": 0.5})
    assert at_share(target, 1.0, BASE).prune.criterion == "taylor"


def test_without_training_trials_that_differ_in_its_settings_alone_are_the_same():
    one = config.changed(BASE, {"prune.learning_rate": 1e-3, "prune.distillation": 0.9})
    other = config.changed(BASE, {"prune.learning_rate": 4e-3})
    assert at_share(one, 0.0, BASE) == at_share(other, 0.0, BASE)
    assert at_share(one, 1.0, BASE) != at_share(other, 1.0, BASE)


def test_a_trial_without_the_widths_of_the_line_runs_without_them():
    """At every share: with them it would be pruned, and called unpruned."""
    base = config.changed(BASE, {"prune.widths": {"b1_a": 0}})
    own = config.changed(base, {"prune.widths": {}, "prune.ratio": 0.0, "prune.epochs": 3})
    found = [at_share(own, share, base).prune for share in (0.0, 1.0)]
    assert [way_of(each) for each in found] == ["unpruned"] * 2
    assert found[0] == found[1]


def test_with_widths_trials_that_differ_in_their_ratio_alone_are_the_same():
    one = config.changed(BASE, {"prune.widths": {"a": 8}, "prune.ratio": 0.0})
    other = config.changed(one, {"prune.ratio": 0.7, "prune.scope": "global"})
    assert at_share(one, 1.0, BASE) == at_share(other, 1.0, BASE)
    assert unread(other, 1.0, BASE, {"prune.ratio", "prune.widths"}) == {"prune.ratio"}


def test_a_ratio_of_two_of_four_is_any_but_0():
    unpruned = config.changed(BASE, {"prune.ratio": 0.0})
    one = config.changed(BASE, {"prune.method": "2:4", "prune.ratio": 0.3})
    for base in (BASE, unpruned):
        assert way_of(at_share(one, 1.0, base).prune) == "2:4"
    other = config.changed(one, {"prune.ratio": 0.7})
    assert at_share(one, 1.0, BASE) == at_share(other, 1.0, BASE)


PRUNES = st.fixed_dictionaries(
    {},
    optional={
        "method": st.sampled_from(["channels", "2:4", "magnitude"]),
        "ratio": st.sampled_from([0.0, 0.4]),
        "widths": st.sampled_from([{}, {"a": 0}]),
        "target_latency_ratio": st.just(0.5),
        "max_accuracy_drop": st.just(1.0),
        "rounds": st.sampled_from([1, 3]),
        "epochs": st.sampled_from([0, 4]),
    },
)


@given(PRUNES, PRUNES)
@example({"widths": {"a": 8}}, {"rounds": 3})
def test_whatever_the_line_is_a_trial_is_pruned_in_its_own_way(own, line):
    try:
        settings, base = (Settings.model_validate({"prune": each}) for each in (own, line))
    except ValidationError:
        reject()
    found = at_share(settings, 1.0, base).prune
    assert way_of(found) == way_of(settings.prune)
    assert Settings.model_validate({"prune": found.model_dump()}).prune == found
    assert (found.widths, found.target_latency_ratio, found.max_accuracy_drop) == (
        settings.prune.widths,
        settings.prune.target_latency_ratio,
        settings.prune.max_accuracy_drop,
    )
