from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from stages.numerics.channel_scores import (
    group_scores,
    norm_scores,
    scale_scores,
    strongest,
    taylor_scores,
    width,
)


def test_a_channels_score_is_the_norm_of_its_kernel_against_the_layers_mean() -> None:
    kernel = np.zeros((3, 3, 2, 3), np.float32)
    kernel[0, 1, 0] = [3, 0, 8]
    kernel[2, 2, 1] = [4, 0, 6]
    np.testing.assert_allclose(norm_scores(kernel, 3), np.array([5, 0, 10]) / 5)


def test_the_output_axis_may_be_any_axis() -> None:
    kernel = np.random.default_rng(0).normal(size=(3, 3, 5, 4)).astype(np.float32)
    np.testing.assert_allclose(
        norm_scores(np.swapaxes(kernel, 2, 3), 2), norm_scores(kernel, 3), rtol=1e-12
    )


def test_the_scale_of_batch_normalisation_counts_by_its_root_and_without_its_sign() -> None:
    kernel = np.ones((2, 3), np.float32)
    scores = norm_scores(kernel, 1, np.array([1, -4, 16], np.float32))
    np.testing.assert_allclose(scores, np.array([1, 2, 4]) * 3 / 7)


def test_a_layer_of_zeros_scores_zero_and_not_nan() -> None:
    assert norm_scores(np.zeros((2, 3), np.float32), 1).tolist() == [0, 0, 0]


def test_the_scale_of_a_whole_layer_does_not_matter() -> None:
    kernel = np.random.default_rng(0).normal(size=(3, 3, 2, 8)).astype(np.float32)
    np.testing.assert_allclose(norm_scores(kernel * 64, 3), norm_scores(kernel, 3), rtol=1e-12)


def test_a_groups_channel_adds_up_all_places_where_it_is_computed() -> None:
    scores = {"a": np.array([1.0, 2.0, 4.0]), "b": np.array([8.0, 16.0])}
    channels = [[("a", 2), ("b", 0)], [("a", 0), ("b", 1), ("b", 0)]]
    assert group_scores(channels, scores).tolist() == [12, 25]


def test_the_l1_norm_adds_magnitudes() -> None:
    kernel = np.array([[1, -3], [2, 3]], np.float32)
    np.testing.assert_allclose(norm_scores(kernel, 1, order=1), np.array([3, 6]) / 4.5)


def test_the_scale_criterion_is_the_magnitude_of_gamma() -> None:
    gamma = np.array([1, -3, 2], np.float32)
    np.testing.assert_allclose(scale_scores(gamma), np.array([1, 3, 2]) / 2)


def test_taylor_squares_the_change_of_each_batch_and_takes_the_mean() -> None:
    kernel = np.array([[1, 2], [3, 4]], np.float32)
    gradients = [np.array([[1, 0], [-1, 1]], np.float32), np.array([[0, 1], [1, 0]], np.float32)]
    assert taylor_scores(kernel, gradients, 1).tolist() == [(4 + 9) / 2, (16 + 4) / 2]


def test_taylor_is_the_change_of_a_linear_loss_without_the_channel() -> None:
    rng = np.random.default_rng(0)
    kernel, slope = rng.normal(size=(2, 3, 3, 4, 5)).astype(np.float32)
    changes = []
    for channel in range(5):
        without = kernel.copy()
        without[..., channel] = 0
        changes.append(float((slope * (kernel - without)).sum()))
    found = taylor_scores(kernel, [slope], 3)
    np.testing.assert_allclose(found, np.square(changes), rtol=1e-4)


@pytest.mark.parametrize(
    ("scores", "count", "kept"),
    [([3, 1, 2, 2], 2, [0, 2]), ([3, 1, 2], 3, [0, 1, 2]), ([0, 0, 0, 0], 2, [0, 1])],
)
def test_the_weakest_go_and_of_equals_the_lower_stays(
    scores: list[float], count: int, kept: list[int]
) -> None:
    assert strongest(np.array(scores, np.float64), count).tolist() == kept


@pytest.mark.parametrize(
    ("channels", "ratio", "multiple", "left"),
    [
        (32, 0.5, 8, 16),
        (32, 0.6, 8, 16),
        (12, 0.5, 8, 8),
        (6, 0.5, 8, 6),
        (64, 0.999, 8, 8),
        (20, 0.1, 8, 20),
        (3, 0.5, 1, 2),
        (2, 0.999, 1, 1),
        (100, 0.29, 1, 71),
        (5, 0.0, 1, 5),
    ],
)
def test_widths_are_rounded_up_to_a_multiple_but_not_beyond_what_there_is(
    channels: int, ratio: float, multiple: int, left: int
) -> None:
    assert width(channels, ratio, multiple) == left


@settings(deadline=None, derandomize=True)
@given(
    arrays.arrays(np.float64, st.integers(1, 60), elements=st.floats(0, 10)),
    st.floats(0, 1, exclude_max=True),
    st.integers(1, 16),
)
def test_nothing_that_goes_is_stronger_than_what_stays(
    scores: np.ndarray, ratio: float, multiple: int
) -> None:
    left = width(len(scores), ratio, multiple)
    kept = strongest(scores, left)
    gone = np.setdiff1d(np.arange(len(scores)), kept)
    assert 1 <= len(kept) == left
    assert left % multiple == 0 or left == len(scores)
    assert len(gone) <= ratio * len(scores) + 1e-6
    if len(gone):
        assert scores[gone].max() <= scores[kept].min()
