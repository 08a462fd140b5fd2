from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stages.numerics.calibration import BINS, empty, percentile_amax, saturated_share

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
