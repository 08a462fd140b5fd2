from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from stages.numerics.channel_scores import group_scores, layer_scores, strongest


def test_a_channels_score_is_the_norm_of_its_kernel_against_the_layers_mean() -> None:
    kernel = np.zeros((3, 3, 2, 3), np.float32)
    kernel[0, 1, 0] = [3, 0, 8]
    kernel[2, 2, 1] = [4, 0, 6]
    np.testing.assert_allclose(layer_scores(kernel, 3), np.array([5, 0, 10]) / 5)


def test_the_output_axis_may_be_any_axis() -> None:
    kernel = np.random.default_rng(0).normal(size=(3, 3, 5, 4)).astype(np.float32)
    np.testing.assert_allclose(
        layer_scores(np.swapaxes(kernel, 2, 3), 2), layer_scores(kernel, 3), rtol=1e-12
    )


def test_the_scale_of_batch_normalisation_counts_by_its_root_and_without_its_sign() -> None:
    kernel = np.ones((2, 3), np.float32)
    scores = layer_scores(kernel, 1, np.array([1, -4, 16], np.float32))
    np.testing.assert_allclose(scores, np.array([1, 2, 4]) * 3 / 7)


def test_a_layer_of_zeros_scores_zero_and_not_nan() -> None:
    assert layer_scores(np.zeros((2, 3), np.float32), 1).tolist() == [0, 0, 0]


def test_the_scale_of_a_whole_layer_does_not_matter() -> None:
    kernel = np.random.default_rng(0).normal(size=(3, 3, 2, 8)).astype(np.float32)
    np.testing.assert_allclose(layer_scores(kernel * 64, 3), layer_scores(kernel, 3), rtol=1e-12)


def test_a_groups_channel_adds_up_all_places_where_it_is_computed() -> None:
    scores = {"a": np.array([1.0, 2.0, 4.0]), "b": np.array([8.0, 16.0])}
    channels = [[("a", 2), ("b", 0)], [("a", 0), ("b", 1), ("b", 0)]]
    assert group_scores(channels, scores).tolist() == [12, 25]


@pytest.mark.parametrize(
    ("scores", "ratio", "kept"),
    [
        ([3, 1, 2, 2], 0.5, [0, 2]),
        ([3, 1, 2], 0.5, [0, 2]),
        ([3, 1], 0.49, [0, 1]),
        ([3, 1], 0.999, [0]),
        ([1], 0.999, [0]),
        ([0, 0, 0, 0], 0.5, [0, 1]),
        ([5, 4], 0.0, [0, 1]),
    ],
)
def test_the_weakest_go_ties_keep_the_lower_and_one_stays(
    scores: list[float], ratio: float, kept: list[int]
) -> None:
    assert strongest(np.array(scores, np.float64), ratio).tolist() == kept


def test_29_percent_of_100_channels_are_29() -> None:
    assert len(strongest(np.arange(100.0), 0.29)) == 71


@settings(deadline=None, derandomize=True)
@given(
    arrays.arrays(np.float64, st.integers(1, 60), elements=st.floats(0, 10)),
    st.floats(0, 1, exclude_max=True),
)
def test_nothing_that_goes_is_stronger_than_what_stays(scores: np.ndarray, ratio: float) -> None:
    kept = strongest(scores, ratio)
    gone = np.setdiff1d(np.arange(len(scores)), kept)
    assert len(kept) >= 1
    assert len(gone) <= ratio * len(scores) + 1e-6
    if len(gone):
        assert scores[gone].max() <= scores[kept].min()
