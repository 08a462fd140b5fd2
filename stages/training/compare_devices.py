"""How fast each device of this host trains: the same network, images and steps on all of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from stages import progress
from stages.datasets.base import DataSet
from stages.results.asides import DeviceComparison, DeviceSpeed
from stages.settings import TrainStage
from stages.training.fit import TrainingRun, fit, prepare
from stages.training.network import create, load

STEPS = 100
"""Steps to time at least, in whole epochs, after a first epoch that compiles."""


def run(settings: TrainStage, inputs: Mapping[str, Path], out: Path) -> DeviceComparison:
    """Train on every device in turn; `inputs` and `out` stay as they are.

    One row per device: the CPU first, then every GPU, then all GPUs together where there are
    several.
    """
    prepare(settings.train)
    dataset = load(settings)
    gpus = [f"gpu:{number}" for number in range(len(tf.config.list_physical_devices("GPU")))]
    names = ["cpu", *gpus, *(["gpus"] if len(gpus) > 1 else [])]
    timed = {}
    for done, name in enumerate(names):
        progress.report(f"trains on {name}", done, len(names))
        timed[name] = _timed(settings, dataset, name)
    base = timed["cpu"]["images_per_second"]
    rows = [
        DeviceSpeed(device=name, **row, times_cpu=row["images_per_second"] / base)
        for name, row in timed.items()
    ]
    return DeviceComparison(rows=tuple(rows))


def _timed(settings: TrainStage, dataset: DataSet, device: str) -> dict[str, float]:
    steps = -(-len(dataset.train) // settings.train.batch_size)
    changes = {"devices": device, "epochs": 1 + -(-STEPS // steps), "patience": 0}
    training = settings.train.model_copy(update=changes)
    model, signature, dataset = create(settings, dataset)
    run = TrainingRun(
        dataset, signature, training, "train", settings.data, precision=training.precision
    )
    epochs = fit(model, run).history[1:]
    seconds = [epoch.seconds or 0.0 for epoch in epochs]
    rates = [epoch.images_per_second or 0.0 for epoch in epochs]
    return {
        "images_per_second": float(np.dot(rates, seconds)) / sum(seconds),
        "step_ms": sum(epoch.step_ms or 0.0 for epoch in epochs) / len(epochs),
    }
