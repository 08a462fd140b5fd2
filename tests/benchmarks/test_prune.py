from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np

from benchmarks import prune


def test_points_are_lost_against_the_control_with_an_interval_of_the_same_images() -> None:
    # Of 100 images 80 both right, 12 only the control, 4 only the pruned network.
    control = np.repeat([True, True, False, False], [80, 12, 4, 4])
    pruned = np.repeat([True, False, True, False], [80, 12, 4, 4])
    points, p = prune.lost(control, pruned).split(" | ")
    middle, low, high = map(float, re.findall(r"-?[0-9.]+", points))
    assert middle == 8.0
    assert low < middle < high
    # 12 against 4 of 16 fair throws: mid-p 2 * P(X < 4) + P(X = 4).
    expected = (2 * (1 + 16 + 120 + 560) + 1820) / 2**16
    assert float(p) == float(f"{expected:.2g}")
    assert prune.lost(control, control).startswith("0.00 (")


def test_the_control_is_trained_for_all_epochs_that_led_to_the_pruned_network(
    tmp_path: Path,
) -> None:
    rounds = [{"epochs": 2, "is_kept": True}, {"epochs": 5, "is_kept": True}]
    rounds.append({"epochs": 7, "is_kept": False})
    records = {
        "train": {"settings": {"train": {"epochs": 36}}},
        "prune": {"measurements": {"details": {"rounds": rounds}}},
    }
    for stage, content in records.items():
        (tmp_path / stage).mkdir()
        (tmp_path / stage / "record.json").write_text(json.dumps(content))
    assert prune.epochs(tmp_path) == [36, 2, 5]
