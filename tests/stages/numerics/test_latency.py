from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.numerics import latency
from stages.results.base import LatencyRow


def row(samples_ms: list[float], batch_size: int = 1) -> LatencyRow:
    return latency.row(
        np.array(samples_ms), batch_size=batch_size, runtime="litert", precision="int8", threads=2
    )


def test_a_row_by_hand() -> None:
    assert row([1.0, 2.0, 3.0], batch_size=4).model_dump(
        exclude_none=True, exclude={"gpu_clocks"}
    ) == {
        "batch_size": 4,
        "runtime": "litert",
        "precision": "int8",
        "threads": 2,
        "samples": 3,
        "p50_ms": 2.0,
        "p90_ms": pytest.approx(2.8),
        "p99_ms": pytest.approx(2.98),
        "p99_is_indicative": True,
        "mean_ms": 2.0,
        "images_per_second": 2000.0,
    }


def test_one_sample_is_every_percentile() -> None:
    found = row([0.5])
    assert {getattr(found, key) for key in ("p50_ms", "p90_ms", "p99_ms", "mean_ms")} == {0.5}


def test_the_order_of_the_calls_does_not_matter() -> None:
    assert row([5.0, 1.0, 3.0]) == row([1.0, 3.0, 5.0])


@settings(deadline=None)
@given(st.lists(st.floats(1e-4, 1e5), min_size=1), st.integers(1, 512))
def test_percentiles_rise_and_throughput_is_that_of_the_median(
    samples_ms: list[float], batch_size: int
) -> None:
    found = row(samples_ms, batch_size)
    ranked = [min(samples_ms), found.p50_ms, found.p90_ms, found.p99_ms, max(samples_ms)]
    slack = 1e-9 * ranked[-1]
    assert all(low <= high + slack for low, high in itertools.pairwise(ranked))
    assert found.images_per_second == pytest.approx(1000 * batch_size / np.median(samples_ms))


def test_numbers_are_plain_python_for_json() -> None:
    assert {
        type(value)
        for value in row([1.0, 2.0]).model_dump(exclude_none=True, exclude={"gpu_clocks"}).values()
    } == {
        int,
        float,
        str,
        bool,
    }


def test_p99_stands_on_a_thousand_calls() -> None:
    assert row([1.0] * 999).p99_is_indicative is True
    assert row([1.0] * 1000).p99_is_indicative is False


def test_a_row_of_windows_says_how_certain_its_median_is() -> None:
    calls = np.repeat([1.0, 1.001, 1.002, 1.001, 1.0], 10)
    found = latency.row(
        calls,
        batch_size=1,
        runtime="litert",
        precision="int8",
        threads=1,
        window_p50_ms=[1.0, 1.001, 1.002, 1.001, 1.0],
    )
    assert found.window_p50_ms == (1.0, 1.001, 1.002, 1.001, 1.0)
    assert 1.0 <= found.p50_low_ms <= found.p50_ms <= found.p50_high_ms <= 1.002
    assert found.stable is True


def test_the_interval_is_that_of_all_possible_draws() -> None:
    """Three windows can be drawn in 27 ways; the median of each is counted by hand here."""
    windows = [1.0, 2.0, 4.0]
    medians = sorted(np.median(draw) for draw in itertools.product(windows, repeat=3))
    exact = np.percentile(medians, (2.5, 97.5))
    np.testing.assert_allclose(latency.median_interval(windows), exact)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=20))
def test_the_interval_lies_within_the_windows_and_does_not_change(windows: list[float]) -> None:
    low, high = latency.median_interval(windows)
    assert min(windows) <= low <= high <= max(windows)
    assert (low, high) == latency.median_interval(windows)


def test_about_95_of_100_intervals_hold_the_true_median() -> None:
    random = np.random.default_rng(1)
    intervals = [latency.median_interval(random.normal(5.0, 0.1, 15)) for _ in range(300)]
    held = sum(low <= 5.0 <= high for low, high in intervals)
    assert 0.9 <= held / 300 <= 0.99


@pytest.mark.parametrize(
    ("windows", "stable"),
    [
        ([1.0, 1.0, 1.0], True),
        ([1.0, 1.0], False),
        ([], False),
        ([1.0, 1.001, 1.0, 1.002, 1.0], True),
        ([1.0] * 5 + [1.0, 1.0, 1.021], False),  # the last three differ by more than 2 %
        ([1.03, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0], True),  # one slow window long ago
        ([1.03, 1.03, 1.02, 1.02, 1.0, 1.0, 1.0], False),  # it still drifts
    ],
)
def test_stable_is_what_agrees_at_last_and_is_certain(windows: list[float], stable: bool) -> None:
    assert latency.is_stable(windows) is stable
