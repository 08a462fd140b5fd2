"""Numbers that can be united: a disjoint-set forest (Tarjan, 1975)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
FROZEN = 0
"""The unit of all that must stay; it always exists."""


class Units:
    """Numbers from 0, each at first on its own."""

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
            low, high = sorted((self._root(int(unit)), self._root(int(other))))
            self._parent[high] = low

    def roots(self) -> Indices:
        """For every unit the lowest one that it is united with: [0, 1, 1] if 2 is with 1."""
        return np.array([self._root(unit) for unit in range(len(self._parent))])

    def _root(self, unit: int) -> int:
        while self._parent[unit] != unit:
            self._parent[unit] = self._parent[self._parent[unit]]
            unit = self._parent[unit]
        return unit
