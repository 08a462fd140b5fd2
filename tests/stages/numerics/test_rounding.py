from __future__ import annotations

import numpy as np
import pytest

from stages.numerics.qparams import INT8, Grid
from stages.numerics.rounding import FLOAT16, FLOAT32, beyond_rounding, stochastic

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("step", [-0.5, 3.49, 3.51, 254.5, 255.4, 900.0, -7.0])
def test_only_next_to_a_tie_either_integer_is_explained(step):
    candidates = np.arange(0, 256)
    allowed = np.abs(np.clip(step, 0, 255) - candidates) <= 0.5 + 0.02
    steps = np.full(256, step, np.float32)
    assert (beyond_rounding(steps, candidates, Grid(0, 255), 0.02) == ~allowed).all()
    assert allowed.any()


def test_what_is_not_a_number_is_never_explained():
    steps = np.array([np.nan, 1.0], np.float32)
    assert beyond_rounding(steps, np.array([0, 1]), INT8, 1e9).tolist() == [True, False]


def test_stochastic_rounding_has_the_exact_value_as_its_mean_and_stays_on_the_grid():
    steps = np.array([-200.0, -3.25, 0.0, 0.5, 17.9, 300.0], np.float32)
    drawn = np.stack([stochastic(steps, INT8, RNG) for _ in range(4000)])
    assert set(np.unique(drawn[:, 1])) == {-4.0, -3.0}
    assert drawn.mean(axis=0) == pytest.approx([-128, -3.25, 0, 0.5, 17.9, 127], abs=0.04)


@pytest.mark.parametrize(("kind", "arithmetic"), [(np.float32, FLOAT32), (np.float16, FLOAT16)])
def test_sums_of_rounded_products_stay_within_the_bound(kind, arithmetic):
    """4,608 products are those of a 3x3 kernel over 512 channels; their sum is in float32."""
    x, w = RNG.normal(0, 1, (2000, 4608)), RNG.normal(0, 1, 4608)
    products = x.astype(kind).astype(np.float32) * w.astype(kind).astype(np.float32)
    total = np.zeros(2000, np.float32)
    for column in products.T:
        total += column
    error = np.abs(total.astype(kind) - x @ w)
    bound = arithmetic.weighted * np.linalg.norm(x * w, axis=1) + arithmetic.other * np.abs(x @ w)
    assert (error <= bound).all()
    assert error.max() > bound.max() / 100
