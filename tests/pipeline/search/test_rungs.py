from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from pipeline import config
from pipeline.search.rungs import Standing, at_share, goes_on
from stages.settings import Settings

BASE = Settings()
STANDINGS = st.lists(
    st.builds(Standing, st.tuples(st.integers(0, 9), st.integers(0, 9)), st.just(0.0)), max_size=15
)


@given(STANDINGS, st.floats(0.05, 0.95))
def test_of_a_whole_group_exactly_the_kept_share_would_go_on(everyone, share):
    """Each judged as if it came last, so that no tie is decided by who was there first."""
    distinct = [Standing((i, -i)) for i in range(len(everyone) + 1)]
    count = sum(
        goes_on(each, [other for other in distinct if other is not each], share)
        for each in distinct
    )
    assert count <= math.ceil(share * len(distinct))


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


def test_of_an_unpruned_network_nothing_says_how_to_prune_and_it_is_one_at_every_rung():
    one = config.changed(BASE, {"prune.ratio": 0.0, "prune.criterion": "taylor"})
    other = config.changed(BASE, {"prune.ratio": 0.0, "prune.channel_multiple": 16})
    assert at_share(one, 1.0, BASE) == at_share(other, 1.0, BASE)
    assert at_share(one, 0.0, BASE).prune == at_share(other, 1.0, BASE).prune
    target = config.changed(one, {"prune.target_latency_ratio": 0.5})
    assert at_share(target, 1.0, BASE).prune == target.prune


def test_without_training_trials_that_differ_in_its_settings_alone_are_the_same():
    one = config.changed(BASE, {"prune.learning_rate": 1e-3, "prune.distillation": 0.9})
    other = config.changed(BASE, {"prune.learning_rate": 4e-3})
    assert at_share(one, 0.0, BASE) == at_share(other, 0.0, BASE)
    assert at_share(one, 1.0, BASE) != at_share(other, 1.0, BASE)
