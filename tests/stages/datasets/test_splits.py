from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.datasets.splits import divide, stratified

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
