from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.numerics.medians import of_blocks, ratio

Draw = Callable[[np.random.Generator, int], NDArray[np.float64]]


def quiet(random: np.random.Generator, windows: int) -> NDArray[np.float64]:
    return 0.01 * np.exp(random.normal(0, 0.02, windows))


def disturbed(random: np.random.Generator, windows: int) -> NDArray[np.float64]:
    """One window in five meets a neighbour."""
    met = (random.random(windows) < 0.2) * random.exponential(0.3, windows)
    return 0.01 * np.exp(random.normal(0, 0.01, windows) + met)


def test_the_ratio_is_that_of_the_medians() -> None:
    found = ratio([2.0, 1.0, 3.0, 9.0, 2.0], [1.0, 1.0, 1.1, 0.9, 7.0])
    assert found.estimate == pytest.approx(0.5)
    assert found.low <= 0.5 <= found.high


def test_between_two_middle_windows_the_median_is_that_of_the_table() -> None:
    found = ratio([1.0] * 6, [1.0, 1.0, 1.0, 9.0, 9.0, 9.0])
    assert found.estimate == np.median([1.0, 1.0, 1.0, 9.0, 9.0, 9.0])
    assert found.low <= found.estimate <= found.high


def test_equal_windows_leave_no_doubt() -> None:
    found = ratio([2.0] * 10, [1.0] * 10)
    assert (found.low, found.estimate, found.high) == pytest.approx((0.5, 0.5, 0.5))


def test_the_same_series_give_the_same_interval_every_time() -> None:
    random = np.random.default_rng(0)
    before, after = quiet(random, 10), quiet(random, 12)
    assert ratio(before, after) == ratio(before, after)


def test_a_higher_confidence_gives_a_wider_interval() -> None:
    random = np.random.default_rng(0)
    before, after = quiet(random, 10), quiet(random, 10)
    narrow, wide = ratio(before, after, 0.8), ratio(before, after, 0.99)
    assert wide.low < narrow.low < narrow.high < wide.high


@pytest.mark.parametrize("draw", [quiet, disturbed])
@pytest.mark.parametrize("windows", [5, 12])
def test_at_least_19_of_20_intervals_hold_the_truth(draw: Draw, windows: int) -> None:
    random = np.random.default_rng(4)
    held = 0
    for _ in range(250):
        found = ratio(draw(random, windows), 0.9 * draw(random, windows))
        held += not found.excludes(0.9)
    assert 0.93 <= held / 250 <= 1.0


def test_a_change_of_8_percent_is_found_in_quiet_windows() -> None:
    random = np.random.default_rng(5)
    found = [ratio(quiet(random, 10), 0.92 * quiet(random, 10)) for _ in range(50)]
    assert sum(each.high < 1.0 for each in found) >= 48


def test_too_few_windows_are_refused() -> None:
    with pytest.raises(ValueError, match="got 4 and 5 values, expected 5 each"):
        ratio([1.0] * 4, [1.0] * 5)


def test_blocks_are_neighbours_in_order() -> None:
    assert of_blocks([1, 2, 3, 10, 11, 12, 5], 2) == [2.5, 11.0]
    assert of_blocks([1, 2], 5) == [1.0, 2.0]
