"""The grid of E4M3 against ml_dtypes, which rounds the bits."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.artifacts.ranges import Range
from stages.numerics.qparams import E4M3, tensor_scale
from stages.numerics.rounding import beyond_rounding, stochastic

BITS = np.arange(256, dtype=np.uint8)
NUMBERS = BITS.view(ml_dtypes.float8_e4m3fn).astype(np.float32)
FINITE = np.unique(NUMBERS[np.isfinite(NUMBERS)])


def test_the_bits_that_engines_store_are_these_numbers():
    assert np.array_equal(E4M3.of_stored(BITS), NUMBERS, equal_nan=True)
    assert np.array_equal(E4M3.of_stored(NUMBERS.astype(ml_dtypes.float8_e4m3fn)), NUMBERS, True)


@given(st.floats(-1000, 1000, width=32))
def test_the_nearest_number_is_that_of_a_cast(value):
    cast = np.float32(np.clip(value, -448, 448)).astype(ml_dtypes.float8_e4m3fn)
    assert E4M3.nearest(np.array([value], np.float32))[0] == np.float32(cast)


def test_numbers_of_the_grid_and_ties_between_them_round_as_a_cast_does():
    ties = (FINITE[1:] + FINITE[:-1]) / 2
    for values in (FINITE, ties, np.nextafter(FINITE, np.float32(0))):
        cast = values.astype(ml_dtypes.float8_e4m3fn).astype(np.float32)
        assert np.array_equal(E4M3.nearest(values), cast)


def test_places_count_the_numbers():
    places = E4M3.place(FINITE)
    assert np.array_equal(np.diff(places), np.ones(len(FINITE) - 1))
    assert places[FINITE == 0] == 0


@pytest.mark.parametrize(("value", "allowed"), [(17.0, {16, 18}), (17.1, {18}), (15.49, {15})])
def test_only_next_to_a_tie_either_number_is_explained(value, allowed):
    steps = np.full(len(FINITE), value, np.float32)
    explained = FINITE[~beyond_rounding(steps, FINITE, E4M3, 0.01)]
    assert set(explained) == allowed


def test_stochastic_rounding_has_the_exact_value_as_its_mean():
    steps = np.array([-500.0, -33.0, 0.001, 17.25, 300.0], np.float32)
    random = np.random.default_rng(0)
    drawn = np.stack([stochastic(steps, E4M3, random) for _ in range(4000)])
    assert set(np.unique(drawn)) <= set(FINITE)
    assert drawn.mean(axis=0) == pytest.approx([-448, -33, 0.001, 17.25, 300], rel=0.02)


def test_the_scales_put_the_largest_value_inside_of_448():
    found = Range(-0.5, 7.0)
    assert found.scale("fp8") == pytest.approx(7 / 448, rel=2**-11)
    for amax in (0.003, 1.0, 448.0, 449.0):
        scale = tensor_scale(np.float32(amax))
        assert np.log2(scale) % 1 == 0
        assert amax / scale <= 448
    assert tensor_scale(np.float32(0)) > 0
