from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.numerics.allocation import Allocation, KernelCosts


def chain(*widths: int) -> KernelCosts:
    """Dense layers behind one another, from 3 features to 2, with these widths between them."""
    groups = len(widths)
    parts = np.eye(groups + 1)
    sides = [3, *widths, 2]
    return KernelCosts(
        np.array([a * b for a, b in pairwise(sides)], np.float64),
        np.array([parts[-1], *parts[:groups]]),
        np.array([*parts[:groups], parts[-1]]),
    )


def cost_of_chain(widths: tuple[int, ...]) -> int:
    sides = (3, *widths, 2)
    return sum(a * b for a, b in pairwise(sides))


def steps(channels: int, multiple: int) -> tuple[int, ...]:
    return tuple(range(channels, 0, -multiple))


def test_a_chain_costs_what_its_widths_say() -> None:
    costs, left = chain(8, 6), np.array([0.5, 1.0])
    assert costs.total(np.ones(2)) == cost_of_chain((8, 6)) == 84
    assert costs.total(left) == cost_of_chain((4, 6))
    other = np.array([0.25, 0.5])
    expected = [cost_of_chain((2, 6)), cost_of_chain((4, 3))]
    assert costs.totals(left, other).tolist() == expected


def test_the_group_goes_first_that_loses_least_for_what_it_saves() -> None:
    """A channel of the first saves 9 multiply-adds, of the second 10; by scores alone the second
    would lose its weakest, 0.1."""
    scores = [np.array([0.09, 5, 5, 5, 5, 5, 5, 5]), np.array([0.11, 5, 5, 5, 5, 5])]
    widths = [steps(8, 1), steps(6, 1)]
    assert Allocation(chain(8, 6), scores, widths).within(83) == (7, 6)
    scores[0][0] = 0.1
    assert Allocation(chain(8, 6), scores, widths).within(83) == (8, 5)


def test_what_the_budget_has_room_for_is_given_back() -> None:
    """The first step, of 0.01, saves 6 of 84 and is not enough; the second alone is."""
    scores = [np.array([0.01] + [1.0] * 7), np.array([0.1] + [9.0] * 5)]
    costs = chain(8, 6)
    assert cost_of_chain((8, 3)) <= 60 < cost_of_chain((8, 4))
    found = Allocation(costs, scores, [(8, 7), (6, 3)]).within(60)
    assert found == (8, 3)


def test_where_a_budget_cannot_be_met_every_group_is_as_narrow_as_it_may_be() -> None:
    scores = [np.ones(8), np.ones(6)]
    assert Allocation(chain(8, 6), scores, [(8, 4), (6,)]).within(1) == (4, 6)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_every_budget_is_met_and_widths_never_grow_again(data: st.DataObject) -> None:
    channels = data.draw(st.lists(st.integers(1, 12), min_size=1, max_size=4))
    multiples = [data.draw(st.integers(1, 4)) for _ in channels]
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    scores = [rng.random(each) for each in channels]
    widths = [steps(each, multiple) for each, multiple in zip(channels, multiples, strict=True)]
    allocation = Allocation(chain(*channels), scores, widths)
    least, most = (cost_of_chain(tuple(each[end] for each in widths)) for end in (-1, 0))
    before = tuple(channels)
    for budget in sorted(data.draw(st.lists(st.integers(least, most), max_size=3)), reverse=True):
        found = allocation.within(budget)
        assert cost_of_chain(found) <= budget
        assert all(width in each for width, each in zip(found, widths, strict=True))
        assert all(now <= then for now, then in zip(found, before, strict=True))
        # Nothing that was taken in this call could be given back.
        for number, (width, each) in enumerate(zip(found, widths, strict=True)):
            if width < before[number]:
                wider = each[each.index(width) - 1]
                one = (*found[:number], wider, *found[number + 1 :])
                assert cost_of_chain(one) > budget
        before = found
