from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import (
    average_precision_score,
    f1_score,
    precision_recall_curve,
    roc_auc_score,
)

from stages.numerics.ranking import (
    average_precision,
    best_threshold,
    f1,
    precision_and_recall,
    roc_auc,
)

SCORES, TRUTH = np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1])


@st.composite
def ranked(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Scores with ties, and truth with both answers."""
    pairs = st.tuples(st.integers(0, 6), st.integers(0, 1))
    found = draw(st.lists(pairs, min_size=2, max_size=40))
    scores, truth = (np.array(each) for each in zip(*found, strict=True))
    truth[:2] = 0, 1
    return scores / 6, truth


@given(ranked())
def test_ties_and_all_it_ranks_as_scikit_learn_does(case: tuple[np.ndarray, np.ndarray]) -> None:
    scores, truth = case
    assert roc_auc(scores, truth) == pytest.approx(roc_auc_score(truth, scores))
    expected = average_precision_score(truth, scores)
    assert average_precision(scores, truth) == pytest.approx(expected)
    precision, recall, _ = precision_recall_curve(truth, scores)
    for found, wanted in zip(precision_and_recall(scores, truth), (precision, recall), strict=True):
        assert found == pytest.approx(wanted[-2::-1])
    yes = scores >= 0.5
    assert f1(yes, truth) == pytest.approx(f1_score(truth, yes, zero_division=0.0))


def test_the_examples_of_the_docstrings() -> None:
    assert roc_auc(SCORES, TRUTH) == 0.75
    assert average_precision(SCORES, TRUTH) == pytest.approx(5 / 6)


def test_one_answer_alone_ranks_nothing() -> None:
    assert roc_auc(SCORES, np.ones(4)) == 0.5
    assert average_precision(SCORES, np.zeros(4)) == 0.0
    assert best_threshold(SCORES, np.zeros(4)) == 0.5
    assert best_threshold(np.full(4, 0.2), TRUTH) == 0.5


@given(ranked())
def test_no_threshold_has_a_higher_f1(case: tuple[np.ndarray, np.ndarray]) -> None:
    scores, truth = case
    chosen = f1(scores >= best_threshold(scores, truth), truth)
    between = (np.arange(7) - 0.5)[1:] / 6
    found = [f1(scores >= each, truth) for each in between if scores.min() < each < scores.max()]
    assert chosen >= max(found, default=0.0) - 1e-12


def test_of_equally_good_thresholds_the_one_near_the_middle_is_taken() -> None:
    scores = np.array([0.0, 0.1, 0.2, 0.9, 1.0])
    assert best_threshold(scores, np.array([0, 0, 0, 1, 1])) == pytest.approx(0.55)
