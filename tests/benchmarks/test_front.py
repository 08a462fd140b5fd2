from __future__ import annotations

import json
import re
from pathlib import Path

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


def made(folder: Path, epochs: int, *rounds: int) -> None:
    kept = [{"epochs": each, "is_kept": True} for each in rounds]
    records = {
        "train": {"settings": {"train": {"epochs": epochs}}},
        "prune": {"measurements": {"details": {"rounds": kept}}},
    }
    for stage, content in records.items():
        (folder / stage).mkdir(parents=True)
        (folder / stage / "record.json").write_text(json.dumps(content))


def test_points_of_other_numbers_of_epochs_have_controls_of_their_own(tmp_path: Path) -> None:
    """With prune.rounds=2 a round may be undone: after hours of training that ended in a crash."""
    for name, rounds in {"a": [2, 12], "b": [12], "c": [2, 12]}.items():
        made(tmp_path / name, 24, *rounds)
    wanted = [tmp_path / name for name in ("control-38", "control-36", "control-38")]
    assert [front.control_of(tmp_path, point) for point in "abc"] == wanted
    made(tmp_path / "control", 36)
    wanted[1] = tmp_path / "control"
    assert [front.control_of(tmp_path, point) for point in "abc"] == wanted
