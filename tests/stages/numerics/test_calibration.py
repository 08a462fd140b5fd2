from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stages.numerics.calibration import (
    BINS,
    Histogram,
    empty,
    entropy_amax,
    mse_amax,
    percentile_amax,
    saturated_share,
)

values = arrays(np.float32, st.integers(1, 300), elements=st.floats(-8, 8, width=32))


@given(values)
def test_a_hundred_percent_covers_every_value(seen):
    amax = float(np.abs(seen).max())
    histogram = empty(amax).add(seen)
    assert percentile_amax(histogram, 100.0) >= amax
    assert saturated_share(histogram, percentile_amax(histogram, 100.0)) == 0.0


@given(values, st.floats(50.0, 99.9))
def test_a_percentile_range_is_numpys_percentile_up_to_one_bin(seen, percentile):
    amax = float(np.abs(seen).max())
    found = percentile_amax(empty(amax).add(seen), percentile)
    expected = np.percentile(np.abs(seen), percentile, method="inverted_cdf")
    bin_width = max(amax, 1e-6) / BINS
    assert expected - bin_width <= found <= expected + 2 * bin_width


def test_batches_may_come_one_by_one():
    seen = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    amax = float(np.abs(seen).max())
    whole = empty(amax).add(seen)
    parts = empty(amax)
    for part in np.split(seen, 10):
        parts = parts.add(part)
    assert np.array_equal(whole.counts, parts.counts)
    assert whole.counts.sum() == 1000


def test_the_saturated_share_is_what_lies_above_the_range():
    seen = np.array([0.1] * 98 + [1.0, -1.0], np.float32)
    histogram = empty(1.0).add(seen)
    assert saturated_share(histogram, 0.5) == pytest.approx(0.02)


def test_a_tensor_of_zeros_gets_a_range_all_the_same():
    histogram = empty(0.0).add(np.zeros(10, np.float32))
    assert percentile_amax(histogram, 100.0) > 0


def long_tailed(seed: int = 0) -> np.ndarray:
    """Mostly small values, and a few far away."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(size=20000), rng.uniform(20, 40, 5)]).astype(np.float32)


def test_the_mse_range_has_the_least_error_of_all_that_were_tried():
    seen = np.abs(long_tailed())
    histogram = empty(float(seen.max())).add(seen)

    def error(amax: float) -> float:
        scale = amax / 127
        return float(np.mean((np.minimum(np.round(seen / scale), 127) * scale - seen) ** 2))

    found = mse_amax(histogram, 127)
    tried = [error(histogram.amax * percent / 100) for percent in range(20, 101)]
    assert error(found) <= min(tried) * 1.02


def test_the_entropy_range_cuts_a_tail_that_costs_resolution():
    seen = long_tailed()
    histogram = empty(float(np.abs(seen).max())).add(seen)
    assert entropy_amax(histogram, 127) < 0.5 * histogram.amax


def test_the_entropy_range_covers_values_that_are_spread_evenly():
    seen = np.linspace(0, 1, 50000, dtype=np.float32)
    assert entropy_amax(empty(1.0).add(seen), 127) > 0.95


def test_the_entropy_of_a_candidate_is_the_textbook_formula():
    """Two levels over four bins, by hand: no clipping is best when nothing is lost."""
    counts = np.zeros(BINS, np.int64)
    counts[0], counts[BINS // 2] = 10, 10
    assert entropy_amax(Histogram(1.0, counts), 2) == 1.0


@given(values, st.sampled_from([127, 255]))
def test_no_method_gives_a_range_beyond_what_was_seen_or_of_nothing(seen, steps):
    amax = float(np.abs(seen).max())
    histogram = empty(amax).add(seen)
    for found in (mse_amax(histogram, steps), entropy_amax(histogram, steps)):
        assert 0 < found <= histogram.amax * (1 + 1e-9)


def test_the_entropy_range_does_not_care_how_many_zeros_there_are():
    seen = np.abs(np.random.default_rng(0).normal(size=20000)).astype(np.float32)
    amax = float(seen.max())
    alone = entropy_amax(empty(amax).add(seen), 255)
    among_zeros = np.concatenate([seen, np.zeros(200000, np.float32)])
    assert entropy_amax(empty(amax).add(among_zeros), 255) == alone > 0.5 * amax
