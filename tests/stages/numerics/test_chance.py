from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from stages.numerics.chance import expected_share, is_above


@given(st.integers(1, 400), st.data(), st.floats(0.01, 0.99))
def test_the_test_is_scipys_exact_binomial_one(samples, data, share):
    hits = data.draw(st.integers(0, samples))
    p = stats.binomtest(hits, samples, share, alternative="greater").pvalue
    if abs(p - 0.05) > 1e-9:
        assert is_above(hits, samples, share) is bool(p < 0.05)


@pytest.mark.parametrize(
    ("hits", "samples", "share", "above"),
    [
        (16, 144, 0.104, False),
        (70, 144, 0.104, True),
        (3, 3, 0.5, False),
        (5, 5, 0.5, True),
        (10, 10, 1.0, False),
        (0, 10, 0.0, False),
        (1, 10, 0.0, True),
        (5_200, 50_000, 0.1, True),
        (5_050, 50_000, 0.1, False),
    ],
)
def test_few_images_and_few_hits_prove_nothing(hits, samples, share, above):
    assert is_above(hits, samples, share) is above


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=50))
def test_the_share_by_chance_is_that_of_cohens_kappa(pairs):
    predicted, labels = (np.array(each) for each in zip(*pairs, strict=True))
    chance, right = expected_share(predicted, labels), float(np.mean(predicted == labels))
    if chance < 1 - 1e-9:
        kappa = cohen_kappa_score(predicted, labels)
        assert (right - chance) / (1 - chance) == pytest.approx(kappa, abs=1e-9)


def test_one_answer_for_all_images_is_chance_however_common_it_is():
    labels = np.repeat([0, 1], [90, 10])
    assert expected_share(np.zeros_like(labels), labels) == pytest.approx(0.9)
    assert expected_share(labels, labels) == pytest.approx(0.82)
