from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.datasets.splits import divide, divide_groups, hold_back, stratified

LABELS = st.lists(st.integers(0, 6), min_size=1, max_size=200).map(lambda x: np.array(x, np.int64))


@st.composite
def divisions(draw: st.DrawFn) -> tuple[np.ndarray, list[int], int]:
    labels = draw(LABELS)
    first = draw(st.integers(0, len(labels)))
    second = draw(st.integers(0, len(labels) - first))
    return labels, [first, second], draw(st.integers(0, 2**32 - 1))


@settings(deadline=None, derandomize=True)
@given(divisions())
def test_parts_never_overlap_and_together_are_everything(
    division: tuple[np.ndarray, list[int], int],
) -> None:
    labels, counts, seed = division
    parts = divide(labels, counts, seed)
    assert [len(part) for part in parts[:-1]] == counts
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(labels)))


@settings(deadline=None, derandomize=True)
@given(divisions())
def test_every_class_gives_its_share_to_within_one_sample(
    division: tuple[np.ndarray, list[int], int],
) -> None:
    labels, counts, seed = division
    first = divide(labels, counts[:1], seed)[0]
    share = np.bincount(labels) * counts[0] / len(labels)
    taken = np.bincount(labels[first], minlength=len(share))
    assert np.abs(taken - share).max() < 1


def test_the_worked_example_of_the_docstring() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1])
    chosen, rest = divide(labels, [3], seed=5)
    assert labels[chosen].tolist() == [0, 0, 1]
    assert labels[rest].tolist() == [0, 0, 1]


def test_the_same_seed_gives_the_same_parts_and_another_seed_others() -> None:
    labels = np.repeat(np.arange(10), 30)
    once, again, other = (divide(labels, [60], seed)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(once, again)
    assert not np.array_equal(once, other)


def test_a_sample_of_a_sorted_folder_has_all_its_classes_in_proportion() -> None:
    labels = np.repeat([0, 1, 2], [200, 100, 56])
    chosen = stratified(labels, 89)
    assert np.bincount(labels[chosen]).tolist() == [50, 25, 14]
    np.testing.assert_array_equal(chosen, stratified(labels, 89))


def test_a_sample_larger_than_the_split_is_the_split() -> None:
    assert stratified(np.array([1, 0, 1]), 256).tolist() == [0, 1, 2]


def test_the_parts_are_the_same_on_every_machine() -> None:
    labels = np.arange(24) % 3
    assert divide(labels, [6], seed=7)[0].tolist() == [1, 5, 9, 11, 13, 21]


def test_more_samples_than_there_are_is_an_error_of_the_caller() -> None:
    with pytest.raises(ValueError, match="cannot take 4 of 3 samples"):
        divide(np.zeros(3, np.int64), [4], seed=0)


@settings(deadline=None, derandomize=True)
@given(divisions())
def test_what_is_held_back_has_its_sizes_and_the_classes_that_can_be_in_it(
    division: tuple[np.ndarray, list[int], int],
) -> None:
    labels, counts, seed = division
    first, second, rest = hold_back(labels, counts, seed)
    assert [len(first), len(second)] == counts
    joined = np.sort(np.concatenate([first, second, rest]))
    np.testing.assert_array_equal(joined, np.arange(len(labels)))
    sizes = np.bincount(labels)
    if sum(counts) <= np.maximum(sizes - 1, 0).sum():
        assert set(labels[rest]) == set(labels)
        if counts[0] >= (sizes > 1).sum():
            assert set(labels[first]) == set(np.flatnonzero(sizes > 1))


def test_a_class_of_two_samples_is_in_validation_and_in_training() -> None:
    labels = np.array([0] * 98 + [1] * 2)
    assert np.bincount(labels[divide(labels, [10], 0)[0]], minlength=2).tolist() == [10, 0]
    first, second, rest = hold_back(labels, [10, 40], 0)
    shares = [np.bincount(labels[part], minlength=2).tolist() for part in (first, second, rest)]
    assert shares == [[9, 1], [40, 0], [49, 1]]


def test_a_class_of_one_sample_is_trained_on() -> None:
    labels = np.array([0] * 50 + [1])
    for seed in range(5):
        first, second, rest = hold_back(labels, [10, 30], seed)
        assert set(labels[first]) == set(labels[second]) == {0}
        assert set(labels[rest]) == {0, 1}


def test_classes_of_many_samples_are_held_back_as_they_are_divided() -> None:
    labels = np.random.default_rng(0).integers(0, 5, 300)
    for found, wanted in zip(
        hold_back(labels, [40, 60], 7), divide(labels, [40, 60], 7), strict=True
    ):
        np.testing.assert_array_equal(found, wanted)


@st.composite
def grouped(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, list[int], int]:
    labels = draw(LABELS)
    groups = draw(
        st.lists(st.integers(0, 20), min_size=len(labels), max_size=len(labels)).map(np.array)
    )
    counts = draw(st.lists(st.integers(1, max(1, len(labels) // 3)), min_size=1, max_size=3))
    return labels, groups, counts, draw(st.integers(0, 2**32 - 1))


def spared(labels: np.ndarray, rest: np.ndarray, group: np.ndarray) -> bool:
    """Whether every class of the rest is still there without the group."""
    return set(labels[rest]) == set(labels[np.setdiff1d(rest, group)])


@settings(deadline=None, derandomize=True)
@given(grouped())
def test_no_group_is_in_two_parts_and_together_they_are_everything(
    division: tuple[np.ndarray, np.ndarray, list[int], int],
) -> None:
    labels, groups, counts, seed = division
    parts = divide_groups(labels, groups, counts, seed)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(labels)))
    owners = [set(groups[part]) for part in parts]
    assert sum(map(len, owners)) == len(set(groups))
    assert len(parts) == len(counts) + 1
    for part, again in zip(parts, divide_groups(labels, groups, counts, seed), strict=True):
        np.testing.assert_array_equal(part, again)


@settings(deadline=None, derandomize=True)
@given(grouped())
def test_a_part_is_as_near_to_its_size_as_one_group_more_could_bring_it(
    division: tuple[np.ndarray, np.ndarray, list[int], int],
) -> None:
    labels, groups, counts, seed = division
    part, rest = divide_groups(labels, groups, counts[:1], seed)
    sizes = np.bincount(groups)
    inside, outside = np.unique(groups[part]), np.unique(groups[rest])
    assert set(labels[rest]) == set(labels)
    assert len(inside) <= 1 or len(part) - counts[0] <= sizes[inside].max() / 2
    free = [each for each in outside if spared(labels, rest, np.flatnonzero(groups == each))]
    if len(outside) > 1:
        assert all(
            abs(counts[0] - len(part)) <= abs(counts[0] - len(part) - sizes[g]) for g in free
        )
        assert len(part) or not free


@settings(deadline=None, derandomize=True)
@given(divisions())
def test_groups_of_one_sample_are_stratified_as_samples_are(
    division: tuple[np.ndarray, list[int], int],
) -> None:
    labels, counts, seed = division
    wanted = max(1, counts[0] // 2)
    share = np.bincount(labels) * wanted / len(labels)
    part = divide_groups(labels, np.arange(len(labels)), [wanted], seed)[0]
    taken = np.bincount(labels[part], minlength=len(share))
    # A class that has one sample keeps it in the rest, and others make up for it.
    if np.bincount(labels)[np.unique(labels)].min() > 2:
        assert np.abs(taken - share).max() < 1


def test_patients_with_both_classes_give_each_part_the_mix_of_all() -> None:
    groups = np.repeat(np.arange(60), 10)
    labels = ((np.arange(600) + groups) % 10 < groups % 5).astype(np.int64)
    parts = divide_groups(labels, groups, [60, 120], seed=3)
    assert [len(part) for part in parts] == [60, 120, 420]
    assert [labels[part].mean() for part in parts] == pytest.approx([0.2] * 3, abs=0.05)


def test_groups_are_drawn_by_the_seed_and_not_by_their_size() -> None:
    groups = np.repeat(np.arange(30), np.arange(1, 31))
    labels = np.arange(len(groups)) % 2
    drawn = [set(groups[divide_groups(labels, groups, [90], seed)[0]]) for seed in range(20)]
    assert len({frozenset(each) for each in drawn}) == 20
    assert set.union(*drawn) == set(range(30))


def test_a_class_of_one_group_stays_in_the_rest() -> None:
    labels, groups = np.array([0, 0, 0, 0, 1, 1]), np.array([0, 1, 2, 3, 4, 4])
    for seed in range(5):
        part, rest = divide_groups(labels, groups, [3], seed)
        assert set(labels[part]) == {0}
        assert len(part) == 3
        assert set(labels[rest]) == {0, 1}


def test_too_few_groups_leave_a_part_empty() -> None:
    labels, groups = np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1])
    assert [len(part) for part in divide_groups(labels, groups, [1, 1], 0)] == [0, 2, 2]
    labels, groups = np.array([0, 1] * 3), np.array([0, 0, 1, 1, 2, 2])
    assert [len(part) for part in divide_groups(labels, groups, [1, 1], 0)] == [2, 2, 2]
