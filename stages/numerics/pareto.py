"""Which of several results are better, where more than one thing counts; all costs are minimised.

A result dominates another if it costs no more of anything and less of something.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Costs = NDArray[np.float64]


def ranks(costs: ArrayLike, violations: ArrayLike | None = None) -> NDArray[np.int64]:
    """Rank (N,) of every result with costs (N, K): 0 for the Pareto front, 1 for the front of the
    rest, and so on (Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II",
    IEEE Transactions on Evolutionary Computation 6, 2002, section III A).

    `violations` (N,), 0 where every budget is met, dominate by section VI of the same: what meets
    them comes before what does not, and of two that do not, the one that misses by less.
    """
    table, missed = _checked(costs, violations)
    beats = _dominates(table, missed)
    found, left = np.full(len(table), -1, np.int64), np.ones(len(table), bool)
    rank = 0
    while left.any():
        front = left & ~(beats[left].any(axis=0))
        found[front], left, rank = rank, left & ~front, rank + 1
    return found


def crowding(costs: ArrayLike) -> Costs:
    """Crowding distance (N,) of the results of one front, section III B of the same: how far its
    neighbours are on either side, over all costs; infinite at the ends.
    """
    table, _ = _checked(costs, None)
    distance = np.zeros(len(table))
    for column in table.T:
        order = np.argsort(column, kind="stable")
        distance[order[[0, -1]]] = np.inf
        width = column[order[-1]] - column[order[0]]
        if width > 0:
            distance[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / width
    return distance


def order(costs: ArrayLike, violations: ArrayLike | None = None) -> list[int]:
    """Indices from best to worst: by rank, then by most crowding distance, then the earlier."""
    table, _ = _checked(costs, violations)
    found = ranks(table, violations)
    ordered: list[int] = []
    for rank in range(int(found.max(initial=-1)) + 1):
        (front,) = np.nonzero(found == rank)
        distance = crowding(table[front])
        ordered += [int(front[index]) for index in np.argsort(-distance, kind="stable")]
    return ordered


def rank_correlation(first: ArrayLike, second: ArrayLike) -> float | None:
    """Spearman's rank correlation of two lists (N,), -1 to 1; equal values share their mean rank.

    None for fewer than three pairs, and where all values of a list are equal.
    """
    places = [_mean_ranks(np.asarray(each, np.float64)) for each in (first, second)]
    if len(places[0]) < 3 or any(np.ptp(each) == 0 for each in places):
        return None
    return float(np.corrcoef(places[0], places[1])[0, 1])


def _checked(costs: ArrayLike, violations: ArrayLike | None) -> tuple[Costs, Costs]:
    table = np.asarray(costs, np.float64)
    table = table.reshape(len(table), table.size // max(1, len(table)))
    missed = np.zeros(len(table)) if violations is None else np.asarray(violations, np.float64)
    if len(missed) != len(table) or np.isnan(table).any() or (missed < 0).any():
        raise ValueError(f"got {len(table)} results, {len(missed)} violations, NaN, or one below 0")
    return table, missed


def _dominates(table: Costs, missed: Costs) -> NDArray[np.bool_]:
    """(N, N): whether the result of the row dominates that of the column."""
    a, b = table[:, None], table[None]
    is_better = (a <= b).all(axis=2) & (a < b).any(axis=2)
    is_equal: NDArray[np.bool_] = missed[:, None] == missed[None]
    # With the same violation, if it is one, costs decide: of two that miss alike the better.
    found: NDArray[np.bool_] = (missed[:, None] < missed[None]) | (is_equal & is_better)
    return found


def _mean_ranks(values: Costs) -> Costs:
    below = (values[:, None] > values[None]).sum(axis=1)
    equal = (values[:, None] == values[None]).sum(axis=1)
    mean: Costs = below + (equal - 1) / 2
    return mean
