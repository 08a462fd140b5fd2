"""Divide labelled samples so that every part has the same mix of classes. Pure numpy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]

SAMPLE_SEED = 0
"""Decides which samples stand for a whole split: fixed, as no setting may change that."""


def stratified(labels: NDArray[np.int64], count: int) -> Indices:
    """Indices (min(count, N),) of samples with the mix of classes of labels (N,), ascending.

    Always the same for the same labels. A folder is sorted by class: its first `count` images
    would be of its first classes only.
    """
    chosen, _ = divide(labels, [min(count, len(labels))], SAMPLE_SEED)
    return chosen


def divide(labels: NDArray[np.int64], counts: Sequence[int], seed: int) -> tuple[Indices, ...]:
    """Indices of len(counts) parts of those sizes, then of the rest; disjoint, each ascending.

    Every class gives each part the same share of its samples, to within one sample:
    labels [0, 0, 0, 0, 1, 1], counts [3] -> two of class 0 and one of class 1, and the rest.
    """
    # RandomState, not default_rng: its stream is frozen (NEP 19), so a deployment machine with
    # another numpy finds the same test images as the machine that trained.
    rest = np.random.RandomState(seed).permutation(len(labels)).astype(np.int64)
    parts: list[Indices] = []
    for count in counts:
        chosen = _rank_in_class(labels[rest]) < _quota(labels[rest], count)[labels[rest]]
        parts.append(np.sort(rest[chosen]))
        rest = rest[~chosen]
    return (*parts, np.sort(rest))


def _quota(labels: NDArray[np.int64], count: int) -> Indices:
    """Samples to take per class, `count` in all: largest remainders, ties to the lower class."""
    if count > len(labels):
        raise ValueError(f"cannot take {count} of {len(labels)} samples")
    sizes = np.bincount(labels)
    # In whole numbers: a float share would make ties depend on rounding.
    quota, remainder = np.divmod(sizes * count, max(len(labels), 1))
    missing = count - int(quota.sum())
    quota[np.argsort(-remainder, kind="stable")[:missing]] += 1
    return quota.astype(np.int64)


def _rank_in_class(labels: NDArray[np.int64]) -> Indices:
    """How many samples of the same class come before each: [5, 7, 5, 5] -> [0, 0, 1, 2]."""
    by_class = np.argsort(labels, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(labels))])
    rank = np.empty(len(labels), np.int64)
    rank[by_class] = np.arange(len(labels)) - starts[labels[by_class]]
    return rank
