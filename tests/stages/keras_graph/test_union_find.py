from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.keras_graph.union_find import FROZEN, UnionFind


@settings(deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=15))
def test_units_have_the_same_root_exactly_if_a_chain_of_unions_joins_them(
    pairs: list[tuple[int, int]],
) -> None:
    units = UnionFind()
    units.new(12)
    reachable = np.eye(13, dtype=bool)
    for one, other in pairs:
        units.unite(np.array([one]), np.array([other]))
        reachable[one, other] = reachable[other, one] = True
    reachable = np.linalg.matrix_power(reachable.astype(float), 12) > 0
    roots = units.roots()
    np.testing.assert_array_equal(roots[:, None] == roots[None, :], reachable)


def test_fresh_units_are_on_their_own_and_frozen_ones_share_the_root_zero() -> None:
    units = UnionFind()
    first, second = units.new(2), units.new(3)
    units.unite(second, FROZEN)
    units.unite(first, np.array([4, 5]))
    assert (first.tolist(), second.tolist()) == ([1, 2], [3, 4, 5])
    assert units.roots().tolist() == [0, 0, 0, 0, 0, 0]
