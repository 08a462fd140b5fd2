from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.numerics import latency


def row(samples_ms: list[float], batch_size: int = 1) -> dict[str, float]:
    return latency.row(
        np.array(samples_ms), batch_size=batch_size, runtime="litert", precision="int8", threads=2
    )


def test_a_row_by_hand() -> None:
    assert row([1.0, 2.0, 3.0], batch_size=4) == {
        "batch_size": 4,
        "runtime": "litert",
        "precision": "int8",
        "threads": 2,
        "samples": 3,
        "p50_ms": 2.0,
        "p90_ms": pytest.approx(2.8),
        "p99_ms": pytest.approx(2.98),
        "mean_ms": 2.0,
        "images_per_second": 2000.0,
    }


def test_one_sample_is_every_percentile() -> None:
    found = row([0.5])
    assert {found[key] for key in ("p50_ms", "p90_ms", "p99_ms", "mean_ms")} == {0.5}


def test_the_order_of_the_calls_does_not_matter() -> None:
    assert row([5.0, 1.0, 3.0]) == row([1.0, 3.0, 5.0])


@settings(deadline=None)
@given(st.lists(st.floats(1e-4, 1e5), min_size=1), st.integers(1, 512))
def test_percentiles_rise_and_throughput_is_images_over_time(
    samples_ms: list[float], batch_size: int
) -> None:
    found = row(samples_ms, batch_size)
    ranked = [min(samples_ms), found["p50_ms"], found["p90_ms"], found["p99_ms"], max(samples_ms)]
    slack = 1e-9 * ranked[-1]
    assert all(low <= high + slack for low, high in itertools.pairwise(ranked))
    seconds = sum(samples_ms) / 1000
    assert found["images_per_second"] == pytest.approx(batch_size * len(samples_ms) / seconds)


def test_numbers_are_plain_python_for_json() -> None:
    assert {type(value) for value in row([1.0, 2.0]).values()} == {int, float, str}
