from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.numerics import pareto

COSTS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=20)


def dominates(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return all(x <= y for x, y in zip(a, b, strict=True)) and a != b


@given(COSTS)
def test_the_first_rank_is_what_nothing_dominates(costs):
    front = {i for i, rank in enumerate(pareto.ranks(costs)) if rank == 0}
    assert front == {
        i for i, mine in enumerate(costs) if not any(dominates(other, mine) for other in costs)
    }


@given(COSTS)
def test_every_further_rank_is_the_front_of_what_is_left(costs):
    found = pareto.ranks(costs)
    for rank in range(1, found.max() + 1):
        left = [tuple(cost) for cost, each in zip(costs, found, strict=True) if each >= rank]
        mine = [tuple(cost) for cost, each in zip(costs, found, strict=True) if each == rank]
        before = [tuple(cost) for cost, each in zip(costs, found, strict=True) if each == rank - 1]
        assert all(not any(dominates(other, each) for other in left) for each in mine)
        assert all(any(dominates(other, each) for other in before) for each in mine)


@given(COSTS, st.data())
def test_what_meets_the_budgets_comes_before_what_misses_them_and_a_near_miss_before_a_far_one(
    costs, data
):
    size = len(costs)
    missed = data.draw(st.lists(st.sampled_from([0.0, 0.5, 2.0]), min_size=size, max_size=size))
    ordered = [missed[index] for index in pareto.order(costs, missed)]
    assert ordered == sorted(missed)


def test_the_ends_of_a_front_have_no_neighbour_and_the_others_a_distance():
    found = pareto.crowding([(0, 10), (1, 5), (2, 4), (10, 0)])
    assert found[0] == found[3] == np.inf
    assert found[1] == pytest.approx(2 / 10 + 6 / 10)
    assert found[2] == pytest.approx(9 / 10 + 5 / 10)


def test_on_one_front_the_ends_come_first_then_the_least_crowded():
    assert pareto.order([(0, 10), (1, 5), (2, 4), (10, 0), (11, 11)]) == [0, 3, 2, 1, 4]


def test_of_equals_the_earlier_comes_first():
    assert pareto.order([(1,), (0,), (1,)]) == [1, 0, 2]


def test_nothing_has_no_order():
    assert pareto.order([]) == []


@pytest.mark.parametrize("missed", [[0.0], [0.0, -1.0]])
def test_violations_that_do_not_fit_are_refused(missed):
    with pytest.raises(ValueError, match="2 results"):
        pareto.ranks([(0, 1), (1, 0)], missed)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=3, max_size=30))
def test_the_rank_correlation_is_spearmans(pairs):
    scipy = pytest.importorskip("scipy.stats")
    first, second = zip(*pairs, strict=True)
    found = pareto.rank_correlation(first, second)
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert found is None
    else:
        assert found == pytest.approx(scipy.spearmanr(first, second).statistic)


def test_two_pairs_tell_nothing():
    assert pareto.rank_correlation([1, 2], [1, 2]) is None
