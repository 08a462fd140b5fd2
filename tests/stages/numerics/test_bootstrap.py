from __future__ import annotations

import numpy as np
import pytest

from stages.numerics.bootstrap import Scores, change, is_above_luck, scores
from stages.numerics.proportions import of_counts

RNG = np.random.default_rng(1)


def share(rows: np.ndarray) -> float:
    return float(rows.mean())


def test_of_a_share_the_interval_is_that_of_counts() -> None:
    before = RNG.random(400) < 0.8
    after = np.where(RNG.random(400) < 0.1, RNG.random(400) < 0.5, before)
    found = change(*(scores(share, each[:, None].astype(float)) for each in (before, after)))
    exact = of_counts(before, after)
    assert found.estimate == pytest.approx(exact.estimate)
    assert found.low == pytest.approx(exact.low, abs=0.006)
    assert found.high == pytest.approx(exact.high, abs=0.006)


def test_the_same_answers_have_changed_by_nothing() -> None:
    rows = RNG.random((50, 3))
    found = change(scores(share, rows), scores(share, rows))
    assert (found.estimate, found.low, found.high) == (0.0, 0.0, 0.0)


def test_draws_without_a_score_say_nothing() -> None:
    before = Scores(0.5, np.array([0.4, np.nan, 0.6]))
    found = change(before, Scores(0.7, np.array([0.5, 0.1, 0.9])))
    assert found.low == pytest.approx(0.105, abs=1e-3)
    assert found.high == pytest.approx(0.295, abs=1e-3)
    unknown = Scores(0.7, np.full(3, np.nan))
    found = change(before, unknown)
    assert (found.low, found.high) == (found.estimate, found.estimate)


@pytest.mark.parametrize(("knows", "expected"), [(0.6, True), (0.0, False)])
def test_what_luck_explains_is_not_above_it(knows: float, expected: bool) -> None:
    truth = RNG.integers(0, 2, 200)
    said = np.where(RNG.random(200) < knows, truth, RNG.integers(0, 2, 200))

    def rows_of(order: np.ndarray) -> np.ndarray:
        return (said[order] == truth)[:, None].astype(float)

    assert is_above_luck(share, rows_of, 200) is expected


def test_of_a_hundred_guesses_few_are_taken_for_knowledge() -> None:
    found = []
    for _ in range(100):
        truth, said = RNG.integers(0, 2, (2, 40))
        rows = (lambda s, t: lambda order: (s[order] == t)[:, None].astype(float))(said, truth)
        found.append(is_above_luck(share, rows, 40))
    assert sum(found) <= 12  # 5 are to be expected, 13 would be a chance of 1 in 700
