from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from stages.numerics.sparsity import (
    compressed_bytes,
    is_two_of_four,
    magnitude_masks,
    polynomial,
    two_of_four,
)


def column(*weights: float) -> np.ndarray:
    """A Dense kernel with one output."""
    return np.array(weights, np.float32)[:, None]


@pytest.mark.parametrize(
    ("weights", "stays"),
    [
        ([1, -4, 3, 2], [0, 1, 1, 0]),
        ([2, 2, 2, 2], [1, 1, 0, 0]),
        ([0, 0, 0, 0], [1, 1, 0, 0]),
        ([1, 2, 3, 4, 5, 6], [0, 0, 1, 1, 1, 1]),
        ([1, 2, 3, 4, 7, 5, 6], [0, 0, 1, 1, 1, 0, 1]),
        ([5], [1]),
    ],
)
def test_two_of_every_four_input_channels_stay(weights: list[float], stays: list[int]) -> None:
    assert two_of_four(column(*weights))[:, 0].tolist() == [bool(each) for each in stays]


def test_every_position_and_output_channel_of_a_convolution_is_on_its_own() -> None:
    kernel = np.random.default_rng(0).normal(size=(3, 3, 8, 5)).astype(np.float32)
    mask = two_of_four(kernel)
    for row in range(3):
        for side in range(3):
            for output in range(5):
                single = two_of_four(kernel[row, side, :, output : output + 1])
                assert (mask[row, side, :, output] == single[:, 0]).all()


@settings(deadline=None, derandomize=True)
@given(arrays.arrays(np.float32, (2, 8, 3), elements=st.floats(-5, 5, width=32)))
def test_no_other_choice_of_two_keeps_more_magnitude(kernel: np.ndarray) -> None:
    mask = two_of_four(kernel)
    assert is_two_of_four(kernel * mask)
    fours = np.abs(kernel).reshape(2, 2, 4, 3)
    kept = np.where(mask.reshape(fours.shape), fours, 0).sum(axis=2)
    best = np.sort(fours, axis=2)[:, :, 2:].sum(axis=2)
    np.testing.assert_allclose(kept, best, rtol=1e-6)


def test_a_dense_kernel_is_not_two_of_four() -> None:
    assert not is_two_of_four(np.ones((3, 3, 4, 2), np.float32))
    assert not is_two_of_four(column(1, 1, 0, 0, 1, 1, 1))


def test_the_smallest_weights_of_every_kernel_go() -> None:
    kernels = [column(1, -2, 3, 4), column(50, 60, 70, 80)]
    first, second = magnitude_masks(kernels, 0.5, (1, 1), together=False)
    assert first[:, 0].tolist() == second[:, 0].tolist() == [False, False, True, True]


def test_the_smallest_weights_of_all_kernels_go() -> None:
    kernels = [column(1, -2, 3, 4), column(50, 60, 70, 80)]
    first, second = magnitude_masks(kernels, 0.5, (1, 1), together=True)
    assert not first.any()
    assert second.all()


def test_blocks_go_as_a_whole_and_those_at_the_edge_are_smaller() -> None:
    kernel = np.array([[9, 1, 9], [1, 1, 9], [1, 1, 1]], np.float32)
    (mask,) = magnitude_masks([kernel], 0.5, (2, 2), together=False)
    assert mask.tolist() == [[True, True, True], [True, True, True], [False, False, False]]


def test_a_share_of_zero_removes_nothing() -> None:
    (mask,) = magnitude_masks([np.zeros((4, 4), np.float32)], 0.0, (1, 1), together=False)
    assert mask.all()


@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.9])
def test_the_share_of_zeros_is_what_was_asked_for(sparsity: float) -> None:
    kernel = np.random.default_rng(0).normal(size=(3, 3, 16, 32)).astype(np.float32)
    (mask,) = magnitude_masks([kernel], sparsity, (1, 1), together=False)
    assert 1 - mask.mean() == pytest.approx(sparsity, abs=1e-3)


def test_the_polynomial_schedule_is_fast_at_first_and_ends_at_the_final_share() -> None:
    assert [polynomial(0.8, done) for done in (0, 0.5, 1)] == pytest.approx([0, 0.7, 0.8])


def test_the_compressed_size_is_that_of_zlib_and_zeros_make_it_small() -> None:
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=(64, 64)).astype(np.float32), np.zeros((8, 64), np.float32)]
    whole = zlib.compress(b"".join(each.tobytes() for each in weights), 9)
    assert compressed_bytes(weights) == len(whole)
    assert compressed_bytes([weights[0] * two_of_four(weights[0])]) < 0.8 * compressed_bytes(
        weights
    )
