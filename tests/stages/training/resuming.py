"""Stages that are killed in the middle of their training and resume, in processes of their own."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import ModuleType

from stages import prune, quantize, train
from stages.results.training import Epoch
from stages.settings import Data, Prune, PruneStage, Quantize, QuantizeStage, Train, TrainStage
from stages.training import evaluate, evidence

DATA = Data(calibration_samples=1000)  # leaves a few hundred images to train on
OPTIONS = {"epochs": 3, "deterministic": True}
ROUNDS = {"rounds": 2, "round_epochs": 0}
STAGES = {
    "train": (train, TrainStage(data=DATA, train=Train(**OPTIONS))),
    "prune": (prune, PruneStage(data=DATA, prune=Prune(**OPTIONS, **ROUNDS))),
    "quantize": (
        quantize,
        QuantizeStage(data=DATA, quantize=Quantize(**OPTIONS, calibration="max")),
    ),
}


# Neither is what resumes, and each takes longer than an epoch here.
evaluate.WARMUP_SECONDS, evaluate.SECONDS = 0.001, 0.01
train.rehearse = lambda model, signature: None


def main(folder: str, trained: str, *stages: str) -> None:
    """Run one stage whole, then until it kills itself after two of three epochs; or resume all."""
    if not stages:
        for stage in STAGES:
            run(Path(folder), Path(trained), stage, "resumed", "resume")
        return
    (stage,) = stages
    run(Path(folder), Path(trained), stage, "whole", "no resume")
    evidence.report = report_and_die
    run(Path(folder), Path(trained), stage, "killed", "resume")


def report_and_die(epoch: Epoch, epochs: int, words: str) -> None:
    if epoch.epoch == 2:
        os.kill(os.getpid(), signal.SIGKILL)


def run(folder: Path, trained: Path, name: str, out: str, resume: str) -> None:
    stage: ModuleType
    stage, settings = STAGES[name]
    place = folder / name
    (place / out).mkdir(parents=True)
    inputs = dict.fromkeys(("train", "prune"), trained)
    result = stage.run(settings, inputs, place / out, place / resume)
    assert [epoch.epoch for epoch in result.details.history] == [1, 2, 3]
