"""A training that is killed, by SIGKILL in a child process, and resumes."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stages.models import files
from tests.pipeline.children import environment

RUN = """
import gc
gc.disable()  # These processes are short, and importing TensorFlow takes a fifth longer with it.
import os, signal, sys
from pathlib import Path
from stages import prune, quantize, train
from stages.settings import (
    Data, Prune, PruneStage, Quantize, QuantizeStage, Train, TrainStage
)
from stages.training import evidence
folder, trained = Path(sys.argv[1]), Path(sys.argv[2])
data = Data(calibration_samples=1000)  # leaves a few hundred images to train on
options = {"epochs": 3, "deterministic": True}
rounds = {"rounds": 2, "round_epochs": 0}
settings = {
    train: TrainStage(data=data, train=Train(**options)),
    prune: PruneStage(data=data, prune=Prune(**options, **rounds)),
    quantize: QuantizeStage(data=data, quantize=Quantize(**options, calibration="max")),
}
def run(stage, name, resume):
    place = folder / stage.__name__.removeprefix("stages.")
    out = place / name
    out.mkdir(parents=True)
    inputs = dict.fromkeys(("train", "prune"), trained)
    result = stage.run(settings[stage], inputs, out, place / resume)
    assert [epoch.epoch for epoch in result.details.history] == [1, 2, 3]
"""
KILLED = """
def report_and_die(epoch, epochs):
    if epoch.epoch == 2:
        os.kill(os.getpid(), signal.SIGKILL)
run({stage}, "whole", "no resume")
evidence.report = report_and_die
run({stage}, "killed", "resume")
"""
RESUMED = """
for stage in settings:
    run(stage, "resumed", "resume")
"""
STAGES = ("train", "prune", "quantize")


def start(code: str, *folders: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", RUN + code, *map(str, folders)],
        env=environment(KERAS_BACKEND="tensorflow", TF_CPP_MIN_LOG_LEVEL="3"),
    )


@pytest.fixture(scope="module")
def folder(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """By stage: `whole`, `killed` after two of three epochs, and `resumed` by another process."""
    made: Path = tmp_path_factory.mktemp("resume")
    killed = [start(KILLED.format(stage=stage), made, trained) for stage in STAGES]
    assert [each.wait() for each in killed] == [-signal.SIGKILL] * len(STAGES)
    assert start(RESUMED, made, trained).wait() == 0
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
