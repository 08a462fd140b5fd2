"""How much each channel matters, and which to keep. Pure numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]


def layer_scores(
    kernel: NDArray[np.float32], output_axis: int, gamma: NDArray[np.float32] | None = None
) -> Scores:
    """One score per output channel of a layer, on average 1: float64 (C,).

    The L2 norm of the channel's weights (Li et al., "Pruning Filters for Efficient ConvNets",
    2017, there with L1), times sqrt|gamma| where batch normalisation follows, which undoes the
    kernel's own scale: kernel (3, 3, 8, 16), output_axis 3 -> (16,).
    """
    weights = np.moveaxis(kernel.astype(np.float64), output_axis, -1)
    norms: Scores = np.sqrt(np.square(weights).sum(axis=tuple(range(weights.ndim - 1))))
    if gamma is not None:
        norms = norms * np.sqrt(np.abs(gamma.astype(np.float64)))
    mean = norms.mean()
    return norms / mean if mean > 0 else norms


def group_scores(
    channels: Sequence[Sequence[tuple[str, int]]], scores: Mapping[str, Scores]
) -> Scores:
    """One score per channel of a group: the sum over the places where it is computed.

    channels [[("a", 0), ("b", 0)], [("a", 1), ("b", 1)]] -> a[0] + b[0], a[1] + b[1].
    """
    return np.array([sum(scores[name][index] for name, index in places) for places in channels])


def strongest(scores: Scores, ratio: float) -> NDArray[np.int64]:
    """The channels to keep when the share `ratio` of them goes: ascending, at least one.

    Never removes more than `ratio`; of equal scores the lower channel stays.
    scores [3, 1, 2, 2], ratio 0.5 -> [0, 2].
    """
    # 0.29 * 100 is 28.999999999999996, but 29 of 100 are meant.
    removed = min(int(ratio * len(scores) + 1e-9), len(scores) - 1)
    order = np.argsort(-scores, kind="stable")
    return np.sort(order[: len(scores) - removed])
