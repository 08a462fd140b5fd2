"""Union-find over integers: a disjoint-set forest (Tarjan, 1975)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
FROZEN = 0
"""The unit of everything that must stay; it always exists."""


class UnionFind:
    """Units, numbered from 0, each at first a set of its own."""

    def __init__(self) -> None:
        self._parent = [FROZEN]

    def new(self, count: int) -> Indices:
        """`count` fresh units."""
        first = len(self._parent)
        self._parent.extend(range(first, first + count))
        return np.arange(first, first + count)

    def unite(self, units: Indices, others: Indices | int) -> None:
        """Unite pair by pair, or all of `units` with one other."""
        for unit, other in np.broadcast(units, others):
            # The lower root wins, so that FROZEN, which is 0, stays the root of its set: `roots`
            # and `groups` look for it by value.
            low, high = sorted((self._root(int(unit)), self._root(int(other))))
            self._parent[high] = low

    def roots(self) -> Indices:
        """The lowest unit of the set of every unit: [0, 1, 1] if 2 is united with 1."""
        return np.array([self._root(unit) for unit in range(len(self._parent))])

    def _root(self, unit: int) -> int:
        while self._parent[unit] != unit:
            self._parent[unit] = self._parent[self._parent[unit]]
            unit = self._parent[unit]
        return unit
