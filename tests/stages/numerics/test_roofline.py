from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.numerics.roofline import fixed_ms, floor

POSITIVE = st.floats(1e-3, 1e15)


@given(POSITIVE, POSITIVE, POSITIVE, POSITIVE)
def test_the_floor_is_that_of_the_attainable_performance_of_the_roofline(
    operations: float, moved: float, peak: float, bandwidth: float
) -> None:
    # As the paper draws it: performance over intensity, min(peak, bandwidth * intensity).
    attainable = min(peak, bandwidth * operations / moved)
    assert floor(operations, moved, peak, bandwidth).ms == pytest.approx(
        1000 * operations / attainable
    )


def test_the_bound_is_the_slower_of_the_two() -> None:
    found = floor(2e6, 1e6, 1e9, 1e9)
    assert found == (2.0, 1.0)
    assert (found.ms, found.bound) == (2.0, "arithmetic")
    assert floor(1e6, 2e6, 1e9, 1e9).bound == "memory"


@pytest.mark.parametrize("peaks", [(0.0, 1.0), (1.0, 0.0), (float("nan"), 1.0)])
def test_a_peak_of_nothing_is_refused(peaks: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="expected more than 0"):
        floor(1.0, 1.0, *peaks)


def test_what_does_not_grow_with_the_batch_is_where_the_line_starts() -> None:
    times = {1: 0.010, 32: 0.041}
    slope, start = np.polyfit(list(times), list(times.values()), 1)
    assert slope == pytest.approx(0.001)
    assert fixed_ms(times) == pytest.approx(start)


def test_images_that_cost_more_in_large_batches_leave_no_negative_cost() -> None:
    assert fixed_ms({1: 1.0, 32: 64.0}) == 0.0


def test_one_batch_size_does_not_tell() -> None:
    assert fixed_ms({1: 1.0}) is None
