from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stages.numerics.calibration import (
    BINS,
    Histogram,
    empty,
    entropy_limits,
    mse_limits,
    percentile_limits,
    saturated_share,
)

values = arrays(np.float32, st.integers(1, 300), elements=st.floats(-8, 8, width=32))


def counted(seen: np.ndarray) -> Histogram:
    return empty(float(seen.min()), float(seen.max())).add(seen)


@given(values)
def test_a_hundred_percent_covers_every_value(seen):
    low, high = percentile_limits(counted(seen), 100.0)
    assert low <= seen.min()
    assert high >= seen.max()
    assert saturated_share(counted(seen), low, high) == 0.0


@given(values, st.floats(50.0, 99.9))
def test_a_percentile_range_is_numpys_percentile_up_to_one_bin(seen, percentile):
    positive = np.abs(seen)
    low, high = percentile_limits(counted(positive), percentile)
    expected = np.percentile(positive, percentile, method="inverted_cdf")
    bin_width = max(float(positive.max()), 1e-6) / BINS
    assert low == 0.0
    assert expected - bin_width <= high <= expected + 2 * bin_width


@given(values, st.floats(50.0, 99.9))
def test_of_both_signs_half_of_what_a_percentile_leaves_out_goes_from_either_end(seen, percentile):
    histogram = counted(seen)
    low, high = percentile_limits(histogram, percentile)
    width = (histogram.high - histogram.low) / BINS
    most = (100 - percentile) / 100 * len(seen)
    if histogram.low < 0:
        assert np.sum(seen < low - 1e-6) <= most / 2 + 1e-6
        assert np.sum(seen < low + 1.01 * width) >= min(most / 2, np.sum(seen < 0)) - 1e-6
    assert np.sum(seen > high + 1e-6) <= most + 1e-6


def test_batches_may_come_one_by_one():
    seen = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    whole = counted(seen)
    parts = empty(float(seen.min()), float(seen.max()))
    for part in np.split(seen, 10):
        parts = parts.add(part)
    assert np.array_equal(whole.counts, parts.counts)
    assert whole.counts.sum() == 1000


def test_the_saturated_share_is_what_lies_outside_the_range():
    seen = np.array([0.1] * 97 + [1.0, -1.0, -0.4], np.float32)
    assert saturated_share(empty(-1.0, 1.0).add(seen), -0.5, 0.5) == pytest.approx(0.02)
    assert saturated_share(empty(-1.0, 1.0).add(seen), -0.25, 1.0) == pytest.approx(0.02)


def test_a_tensor_of_zeros_gets_a_range_all_the_same():
    low, high = percentile_limits(counted(np.zeros(10, np.float32)), 100.0)
    assert low == 0.0 < high


def long_tailed(count: int = 20000) -> np.ndarray:
    """Mostly small values, and a few far away."""
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(size=count), rng.uniform(20, 40, 5)]).astype(np.float32)


def mean_squared_error(seen: np.ndarray, low: float, high: float) -> float:
    """Of the 256 steps between `low` and `high`, in plain NumPy."""
    below = np.round(255 * -low / (high - low))
    scale = max(high / (255 - below), -low / below if below else 0)
    steps = np.clip(np.round(seen / scale), -below, 255 - below)
    return float(np.mean((steps * scale - seen) ** 2))


def test_the_mse_range_has_the_least_error_of_all_that_were_tried():
    seen = np.abs(long_tailed())
    low, high = mse_limits(counted(seen))
    assert low == 0.0
    tried = [mean_squared_error(seen, 0.0, seen.max() * percent / 100) for percent in range(5, 101)]
    assert mean_squared_error(seen, low, high) <= min(tried) * 1.02


def test_the_mse_range_of_both_signs_is_as_good_as_the_best_of_a_whole_grid_of_pairs():
    seen = long_tailed()
    found = mean_squared_error(seen, *mse_limits(counted(seen)))
    shares = np.arange(5, 101, 5) / 100
    tried = [
        mean_squared_error(seen, seen.min() * a, seen.max() * b) for a in shares for b in shares
    ]
    assert found <= min(tried) * 1.05


def test_the_entropy_range_cuts_a_tail_that_costs_resolution():
    histogram = counted(long_tailed(200_000))
    low, high = entropy_limits(histogram)
    assert high < 0.5 * histogram.high
    assert high - low < 0.5 * (histogram.high - histogram.low)


def test_the_entropy_range_covers_values_that_are_spread_evenly():
    low, high = entropy_limits(counted(np.linspace(-0.3, 1, 50000, dtype=np.float32)))
    assert high > 0.95
    assert low < -0.28


def test_where_merging_bins_loses_nothing_the_entropy_range_covers_everything():
    """By hand: with equal counts everywhere the divergence is 0 without clipping."""
    assert entropy_limits(Histogram(0.0, 1.0, np.full(BINS, 7, np.int64))) == (0.0, 1.0)


@settings(max_examples=40)  # each of which tries every threshold
@given(values)
def test_no_method_gives_a_range_beyond_what_was_seen_or_of_nothing(seen):
    histogram = counted(seen)
    for low, high in (mse_limits(histogram), entropy_limits(histogram)):
        assert histogram.low * (1 + 1e-9) <= low <= 0 <= high <= histogram.high * (1 + 1e-9)
        assert low < high


def test_the_entropy_range_does_not_care_how_many_zeros_there_are():
    seen = np.abs(np.random.default_rng(0).normal(size=20000)).astype(np.float32)
    alone = entropy_limits(counted(seen))
    among_zeros = np.concatenate([seen, np.zeros(200000, np.float32)])
    assert entropy_limits(counted(among_zeros)) == alone
    assert alone[1] > 0.5 * seen.max()


def published_divergence(histogram: Histogram, high: float) -> float:
    """Migacz, '8-bit inference with TensorRT', 2017, in plain loops: a reference that ends at
    `high` against its counts merged into 256 levels."""
    seen = histogram.counts.astype(float)
    last = round(high / histogram.high * BINS)
    reference = seen[:last].copy()
    reference[-1] += seen[last:].sum()
    merged = np.zeros(last)
    for level in range(256):
        inside = [at for at in range(last) if at * 256 // last == level and seen[at]]
        for at in inside:
            merged[at] = sum(seen[each] for each in inside) / len(inside)
    p, q = reference / reference.sum(), np.maximum(merged / merged.sum(), 1e-12)
    return float(sum(a * np.log(a / b) for a, b in zip(p, q, strict=True) if a))


def test_without_repeated_values_the_entropy_range_is_that_of_the_published_algorithm():
    histogram = counted(np.random.default_rng(0).exponential(1.0, 100_000).astype(np.float32))
    _, found = entropy_limits(histogram)
    tried = {share: published_divergence(histogram, share * histogram.high) for share in (
        0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, found / histogram.high,
    )}  # fmt: skip
    assert min(tried.values()) == pytest.approx(tried[found / histogram.high], rel=0.05)


@pytest.mark.parametrize("background", [0.2, 0.9])
def test_the_entropy_range_does_not_shrink_around_a_value_that_repeats(background):
    """As behind the first convolution where two thirds of the image are of one colour."""
    rng = np.random.default_rng(0)
    seen = rng.exponential(0.1, 30_000)
    alone = entropy_limits(counted(np.append(seen, 1.5).astype(np.float32)))
    repeated = background * rng.uniform(0.5, 1, 16).repeat(4_000)
    _, high = entropy_limits(counted(np.concatenate([seen, repeated, [1.5]]).astype(np.float32)))
    assert high >= max(0.8 * alone[1], 0.99 * repeated.max())
