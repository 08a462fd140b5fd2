"""A training that is killed, by SIGKILL in a child process, and resumes."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest

from stages.models import files
from tests.forks import Forks

STAGES = ("train", "prune", "quantize")


@pytest.fixture(scope="module")
def folder(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """By stage: `whole`, `killed` after two of three epochs, and `resumed` by another process."""
    made: Path = tmp_path_factory.mktemp("resume")
    with Forks("tests.stages.training.resuming") as forks:
        places = [str(made), str(trained)]
        killed = forks.run(*([*places, stage] for stage in STAGES))
        assert killed == [-signal.SIGKILL] * len(STAGES)
        assert forks.run(places) == [0]
    return made


def weights(folder: Path) -> list[np.ndarray]:
    found: list[np.ndarray] = files.load(folder / "model.keras").get_weights()
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_killed_between_two_epochs_resumes_and_ends_with_the_same_bits(
    folder: Path, stage: str
) -> None:
    assert not (folder / stage / "killed" / "model.keras").exists()
    whole, resumed = (folder / stage / name for name in ("whole", "resumed"))
    for found, expected in zip(weights(resumed), weights(whole), strict=True):
        np.testing.assert_array_equal(found, expected)
    if stage == "quantize":
        assert (resumed / "ranges.json").read_bytes() == (whole / "ranges.json").read_bytes()
