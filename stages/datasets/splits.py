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
        chosen = (
            _rank_in_class(labels[rest]) < _quota(np.bincount(labels[rest]), count)[labels[rest]]
        )
        parts.append(np.sort(rest[chosen]))
        rest = rest[~chosen]
    return (*parts, np.sort(rest))


def hold_back(labels: NDArray[np.int64], counts: Sequence[int], seed: int) -> tuple[Indices, ...]:
    """As `divide`, but rare classes are in the first part and in the rest, as far as they can be.

    The rest keeps a sample of every class, and of those with two or more the first part has one, if
    its count is enough for all of these: labels [0] * 98 + [1] * 2, counts [10] -> nine of class 0
    and one of class 1, where the shares would give ten and none.
    """
    rest = np.random.RandomState(seed).permutation(len(labels)).astype(np.int64)
    parts: list[Indices] = []
    for count in counts:
        sizes = np.bincount(labels[rest])
        least = (sizes > 1).astype(np.int64) * (not parts)
        quota = _bounded(sizes, count, least, np.maximum(sizes - 1, 0))
        chosen = _rank_in_class(labels[rest]) < quota[labels[rest]]
        parts.append(np.sort(rest[chosen]))
        rest = rest[~chosen]
    return (*parts, np.sort(rest))


def divide_groups(
    labels: NDArray[np.int64], groups: NDArray[np.int64], counts: Sequence[int], seed: int
) -> tuple[Indices, ...]:
    """As `divide`, for samples whose groups (N,), numbers from 0, are never divided.

    Each part has about as many samples as `counts` says, at least one group, and about the mix of
    classes of all: groups come in an order of the seed's, and one joins where that brings the
    number of samples nearer to the count, first only those that bring every class nearer too. Every
    class keeps a group in the rest. A part is empty where no group could go.
    """
    by_group = np.split(
        np.argsort(groups, kind="stable"), np.cumsum(np.bincount(groups))[:-1].tolist()
    )
    order = np.random.RandomState(seed).permutation(len(by_group))
    rest = [by_group[group] for group in order if len(by_group[group])]
    parts: list[Indices] = []
    for position, count in enumerate(counts):
        keep = len(counts) - position  # One for each part to come, and one for the rest.
        chosen, rest = _gather(labels, rest, count, keep)
        parts.append(_joined(chosen))
    return (*parts, _joined(rest))


def _gather(
    labels: NDArray[np.int64], groups: list[Indices], count: int, keep: int
) -> tuple[list[Indices], list[Indices]]:
    """Groups of about `count` samples in all, and the others, of which there are `keep` or more."""
    left = np.bincount(labels[_joined(groups)], minlength=labels.max(initial=0) + 1)
    missing = _quota(left, min(count, int(left.sum())))
    short = count
    chosen: set[int] = set()
    for must_mix in (True, False):
        for place, group in enumerate(groups):
            # Nearer to the count with the group than without.
            is_nearer = place not in chosen and len(group) <= 2 * short
            if not is_nearer or len(groups) - len(chosen) <= keep:
                continue
            mix = np.bincount(labels[group], minlength=len(left))
            # The same for the classes: the squared distance to what is missing becomes less.
            is_mixed = mix @ (2 * missing - mix) > 0
            if (is_mixed or not must_mix) and not _is_last(mix, left):
                chosen.add(place)
                left, missing, short = left - mix, missing - mix, short - len(group)
    if not chosen and len(groups) > keep:
        chosen = set(_smallest(labels, groups, left))
    return (
        [group for place, group in enumerate(groups) if place in chosen],
        [group for place, group in enumerate(groups) if place not in chosen],
    )


def _smallest(labels: NDArray[np.int64], groups: list[Indices], left: Indices) -> Sequence[int]:
    """The place of the smallest group without which every class is left, if there is one."""
    places = sorted(range(len(groups)), key=lambda place: len(groups[place]))
    mixes = ((place, np.bincount(labels[groups[place]], minlength=len(left))) for place in places)
    return next(([place] for place, mix in mixes if not _is_last(mix, left)), [])


def _is_last(mix: Indices, left: Indices) -> bool:
    """Whether samples by class `mix` are all of some class that are `left`."""
    return bool(np.any((mix > 0) & (mix == left)))


def _joined(groups: Sequence[Indices]) -> Indices:
    return np.sort(np.concatenate([np.empty(0, np.int64), *groups]))


def _quota(sizes: Indices, count: int) -> Indices:
    """Of classes of these sizes, `count` in all: largest remainders, ties to the lower class."""
    if count > sizes.sum():
        raise ValueError(f"cannot take {count} of {sizes.sum()} samples")
    # In whole numbers: a float share would make ties depend on rounding.
    quota, remainder = np.divmod(sizes * count, max(int(sizes.sum()), 1))
    missing = count - int(quota.sum())
    quota[np.argsort(-remainder, kind="stable")[:missing]] += 1
    return quota.astype(np.int64)


def _bounded(sizes: Indices, count: int, least: Indices, most: Indices) -> Indices:
    """`_quota` within bounds by class, each of which is given up where it cannot be kept.

    What one class has to give or take is made up for by that which is furthest from its share.
    """
    quota = _quota(sizes, count)
    if most.sum() < count:
        return quota
    least = least if least.sum() <= count else np.zeros_like(least)
    bounded = np.clip(quota, least, most)
    while surplus := int(bounded.sum()) - count:
        step = 1 if surplus > 0 else -1
        above = step * (bounded * sizes.sum() - sizes * count)
        can_move = bounded > least if surplus > 0 else bounded < most
        bounded[np.argmax(np.where(can_move, above, np.iinfo(np.int64).min))] -= step
    return bounded


def _rank_in_class(labels: NDArray[np.int64]) -> Indices:
    """How many samples of the same class come before each: [5, 7, 5, 5] -> [0, 0, 1, 2]."""
    by_class = np.argsort(labels, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(labels))])
    rank = np.empty(len(labels), np.int64)
    rank[by_class] = np.arange(len(labels)) - starts[labels[by_class]]
    return rank
