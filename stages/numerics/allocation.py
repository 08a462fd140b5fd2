"""Which groups of channels lose how many, to cost the least importance for what that saves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.numerics.channel_scores import Scores

Shares = NDArray[np.float64]


@dataclass(frozen=True)
class KernelCosts:
    """Multiply-adds of the kernels of a network, by the shares of their channels that are left.

    Kernel k costs whole[k] * (seen[k] @ left) * (made[k] @ left): `whole` (K,), `seen` and `made`
    (K, G + 1) are the parts of its input and output channels in each of G groups and, last, in
    none; `left` (G + 1,) is what is left of each, and 1.
    """

    whole: NDArray[np.float64]
    seen: NDArray[np.float64]
    made: NDArray[np.float64]

    def total(self, left: Shares) -> float:
        """With the shares `left` (G,) of the groups."""
        every = np.append(left, 1.0)
        return float(self.whole @ ((self.seen @ every) * (self.made @ every)))

    def totals(self, left: Shares, other: Shares) -> Shares:
        """(G,): the total where group g alone has the share other[g] instead of left[g]."""
        every, change = np.append(left, 1.0), other - left
        seen = (self.seen @ every)[:, None] + self.seen[:, :-1] * change
        made = (self.made @ every)[:, None] + self.made[:, :-1] * change
        found: Shares = self.whole @ (seen * made)
        return found


class Allocation:
    """Widths of G groups, at first all channels. Group g has `scores`[g] (C,), which compare with
    those of other groups, and may have the falling `widths`[g], the first of them C."""

    def __init__(
        self,
        costs: KernelCosts,
        scores: Sequence[Scores],
        widths: Sequence[Sequence[int]],
    ) -> None:
        self._costs, self._widths = costs, widths
        self._sums = [np.append(0.0, np.cumsum(np.sort(each))) for each in scores]
        self._steps = np.zeros(len(widths), np.int64)

    def within(self, budget: float) -> tuple[int, ...]:
        """Widths (G,) that cost at most `budget`, no wider than those of a call before.

        Each step takes the weakest channels of one group: of the one that loses least for each
        multiply-add that it saves. In the end, what the budget has room for is given back, what
        is worth most first. As narrow as it can be where the budget cannot be met.
        """
        steps = self._steps
        while self._costs.total(self._left(steps)) > budget:
            prices, _ = self._prices(steps, 1)
            if not np.isfinite(prices).any():
                break
            steps = _moved(steps, int(np.argmin(prices)), 1)
        first = self._steps
        while True:
            prices, totals = self._prices(steps, -1)
            fits = np.isfinite(prices) & (totals <= budget) & (steps > first)
            if not fits.any():
                break
            steps = _moved(steps, int(np.argmax(np.where(fits, prices, -np.inf))), -1)
        self._steps = steps
        return tuple(self._after(steps))

    def _after(self, steps: NDArray[np.int64]) -> list[int]:
        """The widths after so many steps of each group."""
        return [each[step] for each, step in zip(self._widths, steps.tolist(), strict=True)]

    def _left(self, steps: NDArray[np.int64]) -> Shares:
        pairs = zip(self._after(steps), self._widths, strict=True)
        return np.array([width / each[0] for width, each in pairs])

    def _prices(self, steps: NDArray[np.int64], change: int) -> tuple[Shares, Shares]:
        """What a step `change` of each group alone loses, or gives back, for each multiply-add,
        infinite where there is none, and the totals after it: twice (G,)."""
        last = np.array([len(each) - 1 for each in self._widths])
        then = np.clip(steps + change, 0, last)
        left = self._left(steps)
        totals = self._costs.totals(left, self._left(then))
        lost = np.abs(self._lost(then) - self._lost(steps))
        saved = np.abs(self._costs.total(left) - totals)
        is_step = (then != steps) & (saved > 0)
        prices = np.divide(lost, saved, out=np.full(len(last), np.inf), where=is_step)
        return prices, totals

    def _lost(self, steps: NDArray[np.int64]) -> Shares:
        """Scores of all channels that are gone after so many steps of each group: (G,)."""
        triples = zip(self._sums, self._widths, self._after(steps), strict=True)
        return np.array([sums[each[0] - width] for sums, each, width in triples])


def _moved(steps: NDArray[np.int64], group: int, change: int) -> NDArray[np.int64]:
    moved = steps.copy()
    moved[group] += change
    return moved
