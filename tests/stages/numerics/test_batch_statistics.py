from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.numerics.batch_statistics import pooled_moments

BATCHES = st.lists(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=5), min_size=1, max_size=5)


@given(BATCHES)
def test_mean_and_variance_are_those_of_all_values_together(values: list[list[float]]) -> None:
    batches = [np.array(batch)[:, None] for batch in values]
    mean, variance = pooled_moments(
        [len(batch) for batch in batches],
        [batch.mean(axis=0) for batch in batches],
        [batch.var(axis=0) for batch in batches],
    )
    together = np.concatenate(batches)
    np.testing.assert_allclose(mean, together.mean(axis=0), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(variance, together.var(axis=0), rtol=1e-9, atol=1e-6)


def test_the_example_of_the_docstring() -> None:
    one, three, zero = np.array([1.0]), np.array([3.0]), np.array([0.0])
    mean, variance = pooled_moments([2, 2], [one, three], [zero, zero])
    assert (mean.tolist(), variance.tolist()) == ([2.0], [1.0])


def test_no_batches_have_no_statistics() -> None:
    with pytest.raises(ValueError, match="got 0 counts, 0 means, 0 variances"):
        pooled_moments([], [], [])
