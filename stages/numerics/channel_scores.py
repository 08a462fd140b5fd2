"""Importance scores of channels, how many to keep, and which. Pure numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]
Array = NDArray[np.float32]


def norm_scores(
    kernel: Array, output_axis: int, gamma: Array | None = None, order: Literal[1, 2] = 2
) -> Scores:
    """One score per output channel of a layer, on average 1: float64 (C,).

    The L1 or L2 norm of the channel's weights (Li et al., "Pruning Filters for Efficient
    ConvNets", 2017, there with L1), times sqrt|gamma| where batch normalisation follows, which
    undoes the kernel's own scale: kernel (3, 3, 8, 16), output_axis 3 -> (16,).
    """
    norms: Scores = np.linalg.norm(_rows(kernel, output_axis), order, axis=1)
    if gamma is not None:
        norms = norms * np.sqrt(np.abs(gamma.astype(np.float64)))
    return _on_average_one(norms)


def scale_scores(gamma: Array) -> Scores:
    """|gamma| of batch normalisation, on average 1: float64 (C,).

    Liu et al., "Learning Efficient Convolutional Networks through Network Slimming", 2017.
    """
    return _on_average_one(np.abs(gamma.astype(np.float64)))


def taylor_scores(kernel: Array, gradients: Sequence[Array], output_axis: int) -> Scores:
    """First-order estimate of the squared change of the loss without a channel: float64 (C,).

    The mean over batches of (sum over the channel's weights of gradient times weight) squared:
    Molchanov et al., "Importance Estimation for Neural Network Pruning", 2019, equation 8.
    The unit is that of the loss in every layer, so nothing is scaled.
    """
    weights = _rows(kernel, output_axis)
    changes = [(weights * _rows(gradient, output_axis)).sum(axis=1) for gradient in gradients]
    scores: Scores = np.mean(np.square(changes), axis=0)
    return scores


def group_scores(
    channels: Sequence[Sequence[tuple[str, int]]], scores: Mapping[str, Scores]
) -> Scores:
    """One score per channel of a group: the sum over the places where it is computed.

    channels [[("a", 0), ("b", 0)], [("a", 1), ("b", 1)]] -> a[0] + b[0], a[1] + b[1].
    """
    return np.array([sum(scores[name][index] for name, index in places) for places in channels])


def width(channels: int, ratio: float, multiple: int = 1) -> int:
    """How many of `channels` stay when the share `ratio` is removed, as a multiple of `multiple`.

    Rounded up, so that never more than `ratio` is removed, but at most to `channels`:
    (32, 0.5, 8) -> 16, (32, 0.6, 8) -> 16, (12, 0.5, 8) -> 8, (6, 0.5, 8) -> 6. At least one.
    """
    # 0.29 * 100 is 28.999999999999996, but 29 of 100 are meant.
    left = max(1, channels - int(ratio * channels + 1e-9))
    return min(channels, -(-left // multiple) * multiple)


def strongest(scores: Scores, count: int) -> NDArray[np.int64]:
    """The `count` channels to keep, ascending; of equal scores the lower channel stays.

    scores [3, 1, 2, 2], count 2 -> [0, 2].
    """
    order = np.argsort(-scores, kind="stable")
    return np.sort(order[:count])


def _rows(kernel: Array, output_axis: int) -> NDArray[np.float64]:
    """The weights of every output channel: (C, weights)."""
    rows = np.moveaxis(kernel.astype(np.float64), output_axis, 0)
    return rows.reshape(len(rows), -1)


def _on_average_one(scores: Scores) -> Scores:
    mean = scores.mean()
    return scores / mean if mean > 0 else scores
