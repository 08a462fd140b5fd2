"""A training that is killed, by SIGKILL in a child process, and goes on."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stages.models import files
from tests.pipeline.children import environment

BEGIN = """
import os, signal, sys
from pathlib import Path
from stages import {stage}
from stages.settings import (
    Data, Prune, PruneStage, Quantize, QuantizeStage, Train, TrainStage
)
from stages.training import evidence
folder, given = map(Path, sys.argv[1:])
data = Data(calibration_samples=1000)  # leaves a few hundred images to train on
def run(name, resume):
    out = folder / name
    out.mkdir()
    found = {stage}.run({settings}, dict.fromkeys(("train", "prune"), given), out, folder / resume)
    assert [epoch.epoch for epoch in found.details.history] == [1, 2, 3]
"""
KILLED = """
def report_and_die(epoch, epochs):
    if epoch.epoch == 2:
        os.kill(os.getpid(), signal.SIGKILL)
evidence.report = report_and_die
run("killed", "resume")
"""
RESUMED = """
run("resumed", "resume")
for name in ("whole", "again"):
    run(name, "no resume of " + name)
"""
KNOBS = "epochs=3, deterministic=True"
STAGES = {
    "train": f"TrainStage(data=data, train=Train({KNOBS}))",
    "prune": f"PruneStage(data=data, prune=Prune({KNOBS}, rounds=2, round_epochs=0))",
    "quantize": f"QuantizeStage(data=data, quantize=Quantize({KNOBS}, calibration='max'))",
}


def status_of(stage: str, what: str, *folders: Path) -> int:
    code = BEGIN.format(stage=stage, settings=STAGES[stage]) + what
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, folders)],
        env=environment(KERAS_BACKEND="tensorflow", TF_CPP_MIN_LOG_LEVEL="3"),
        check=False,
    ).returncode


def weights(folder: Path) -> list[np.ndarray]:
    found: list[np.ndarray] = files.load(folder / "model.keras").get_weights()
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_killed_between_two_epochs_goes_on_and_ends_with_the_same_bits(
    stage, trained, tmp_path
):
    assert status_of(stage, KILLED, tmp_path, trained) == -signal.SIGKILL
    assert not (tmp_path / "killed" / "model.keras").exists()
    assert status_of(stage, RESUMED, tmp_path, trained) == 0
    whole = weights(tmp_path / "whole")
    for other in ("resumed", "again"):
        for found, expected in zip(weights(tmp_path / other), whole, strict=True):
            assert np.array_equal(found, expected), other
    if stage == "quantize":
        names = ("resumed", "again", "whole")
        assert len({(tmp_path / name / "ranges.json").read_bytes() for name in names}) == 1
