from __future__ import annotations

import itertools
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from stages.numerics.proportions import change, mcnemar, paired_change, wilson


@pytest.mark.parametrize(("hits", "samples"), [(0, 10), (9, 10), (355, 360), (9926, 10_000)])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_wilsons_interval_is_that_of_scipy(hits: int, samples: int, confidence: float) -> None:
    found = wilson(hits, samples, confidence)
    expected = stats.binomtest(hits, samples).proportion_ci(confidence, "wilson")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert found.estimate == hits / samples


def test_the_bounds_of_wilson_are_the_shares_that_a_score_test_just_rejects() -> None:
    found = wilson(355, 360)
    for bound in (found.low, found.high):
        z = (found.estimate - bound) / np.sqrt(bound * (1 - bound) / 360)
        assert abs(z) == pytest.approx(NormalDist().inv_cdf(0.975))


@pytest.mark.parametrize(("hits", "samples"), [(0, 0), (11, 10), (-1, 10)])
def test_an_impossible_count_is_refused(hits: int, samples: int) -> None:
    with pytest.raises(ValueError, match=f"got {hits} hits of {samples} samples"):
        wilson(hits, samples)


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [
        ((48, 80, 56, 70), 0.0524, 0.3339),
        ((3, 10, 9, 10), 0.1705, 0.8090),
        ((6, 7, 2, 7), -0.8062, -0.0582),
        ((0, 29, 5, 56), -0.0381, 0.1926),
        ((0, 10, 10, 10), 0.6075, 1.0000),
    ],
)
def test_the_change_of_independent_shares_has_the_bounds_that_newcombe_prints(
    counts: tuple[int, int, int, int], low: float, high: float
) -> None:
    found = change(*counts)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


def test_swapping_before_and_after_turns_the_sign() -> None:
    there, back = change(350, 360, 357, 360), change(357, 360, 350, 360)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
    there, back = paired_change(345, 5, 12, 2), paired_change(345, 12, 5, 2)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))


def test_the_paired_change_has_the_bounds_that_newcombe_prints() -> None:
    found = paired_change(36, 2, 12, 0)
    assert (found.low, found.high) == pytest.approx((0.0569, 0.3404), abs=5e-5)


def test_answers_that_agree_make_the_paired_interval_narrower() -> None:
    paired, apart = paired_change(9880, 20, 40, 60), change(9900, 10_000, 9920, 10_000)
    assert paired.estimate == pytest.approx(apart.estimate)
    assert paired.high - paired.low < 0.65 * (apart.high - apart.low)


def test_equal_answers_are_no_difference() -> None:
    assert not paired_change(357, 0, 0, 3).excludes(0.0)
    assert not paired_change(360, 0, 0, 0).excludes(0.0)


@pytest.mark.parametrize("shares", [(0.97, 0.97), (0.99, 0.98), (0.5, 0.6)])
def test_19_of_20_intervals_of_independent_shares_hold_the_truth(
    shares: tuple[float, float],
) -> None:
    random = np.random.default_rng(1)
    before, after = (random.binomial(360, share, 3000).tolist() for share in shares)
    truth = shares[1] - shares[0]
    holds = [not change(a, 360, b, 360).excludes(truth) for a, b in zip(before, after, strict=True)]
    assert 0.94 <= np.mean(holds) <= 0.975


@pytest.mark.parametrize("shares", [(0.96, 0.01, 0.01, 0.02), (0.9, 0.05, 0.02, 0.03)])
def test_19_of_20_paired_intervals_hold_the_truth(shares: tuple[float, ...]) -> None:
    counts = np.random.default_rng(2).multinomial(360, shares, 3000).tolist()
    holds = [not paired_change(*each).excludes(shares[2] - shares[1]) for each in counts]
    assert 0.94 <= np.mean(holds) <= 0.985


@pytest.mark.parametrize(
    ("only_before", "only_after"), list(itertools.product((0, 1, 7, 40), repeat=2))
)
def test_mcnemar_is_the_binomial_test_less_half_of_the_point_seen(
    only_before: int, only_after: int
) -> None:
    trials = only_before + only_after
    exact = stats.binomtest(only_before, trials).pvalue if trials else 1.0
    seen = float(stats.binom.pmf(only_before, trials, 0.5)) if only_before != only_after else 0.0
    assert mcnemar(only_before, only_after) == pytest.approx(exact - seen)


def test_mcnemar_rejects_equal_models_about_1_time_in_20() -> None:
    wrong = np.random.default_rng(3).binomial(30, 0.5, 4000).tolist()
    rejected = [mcnemar(count, 30 - count) < 0.05 for count in wrong]
    assert 0.03 <= np.mean(rejected) <= 0.055


@given(st.integers(1, 2000), st.floats(0, 1))
def test_an_interval_holds_its_share_and_stays_between_0_and_1(samples: int, share: float) -> None:
    found = wilson(round(share * samples), samples)
    assert 0 <= found.low <= found.estimate <= found.high <= 1
