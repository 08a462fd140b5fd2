from __future__ import annotations

import re

import numpy as np
import pytest

from benchmarks import front


def numbers(text: str) -> list[float]:
    return [float(each) for each in re.findall(r"-?[0-9]+\.[0-9]+", text)]


def test_the_mean_over_seeds_is_of_images_and_its_interval_that_of_a_bootstrap() -> None:
    random = np.random.default_rng(0)
    hard = random.random(2000) < 0.2
    pairs = [
        (~hard | (random.random(2000) < 0.3), ~hard & (random.random(2000) < 0.97))
        for _ in range(3)
    ]
    lost = np.mean([control.astype(float) - pruned for control, pruned in pairs], axis=0)
    drawn = [100 * random.choice(lost, len(lost)).mean() for _ in range(4000)]
    middle, low, high = numbers(front.mean_lost(pairs))
    assert middle == pytest.approx(100 * lost.mean(), abs=0.005)
    assert (low, high) == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=0.1)


def test_seeds_that_err_on_the_same_images_leave_as_much_doubt_as_one() -> None:
    control = np.repeat([True, False], [90, 10])
    pruned = np.repeat([True, False], [80, 20])
    assert front.mean_lost([(control, pruned)] * 3) == front.mean_lost([(control, pruned)])
