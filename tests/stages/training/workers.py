"""One worker of a training, in a process of its own (forks.py): tests start two of them."""

from __future__ import annotations

import functools
import json
import os
import signal
from pathlib import Path

import keras
from keras import layers
from tensorflow.python.eager import context

from stages.artifacts.signature import Signature
from stages.datasets.loading import load_dataset
from stages.errors import UserError
from stages.results.training import Epoch
from stages.settings import Data, Training
from stages.training import evidence, fit

EPOCHS = 3
PATIENT = "TEST_WAITS_FOR_WORKERS"
"""Set where no worker is to be lost: the others notice it only after that time."""
DIGITS = Signature((28, 28, 1), tuple("0123456789"), 1 / 255, 0.0)


def network(normalised: bool) -> keras.Model:
    image = keras.Input((28, 28, 1), name="image")
    x = layers.Conv2D(8, 5, strides=3)(image)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.8)(x) if normalised else x)
    return keras.Model(image, layers.Dense(10)(layers.Flatten()(x)))


def main(folder: str, devices: str, networks: str, kill_after: str = "0") -> None:
    """Train small networks on real digits, `plain` or `normalised` or both with a comma.

    What came out is written to `folder`/result.json, or the error to error.txt. After epoch
    `kill_after` of EPOCHS the process kills itself.
    """
    out = Path(folder)
    out.mkdir(exist_ok=True)
    if PATIENT in os.environ:
        be_patient()
    try:
        train(out, devices, networks, int(kill_after))
    except UserError as error:
        (out / "error.txt").write_text(str(error))
        raise


def be_patient() -> None:
    """A worker that stands still for ten seconds, as on a busy machine, is lost to TensorFlow."""
    ours = context.context()
    ours.configure_coordination_service = functools.partial(
        ours.configure_coordination_service, heartbeat_timeout_in_ms=120_000
    )


def train(folder: Path, devices: str, networks: str, kill_after: int) -> None:
    report = evidence.report

    def report_and_die(epoch: Epoch, whole: int, words: str) -> None:
        report(epoch, whole, words)
        if epoch.epoch == kill_after:
            os.kill(os.getpid(), signal.SIGKILL)

    evidence.report = report_and_die
    training = Training(
        epochs=EPOCHS, batch_size=32, learning_rate=3e-3, clip_norm=1.0, devices=devices
    )
    fit.prepare(training)
    # Leaves 292 images, which is no multiple of the batch: the last of an epoch is a short one.
    dataset = load_dataset(Data(calibration_samples=1001))
    found = {}
    for name in networks.split(","):
        keras.utils.set_random_seed(3)
        model = network(name == "normalised")
        checkpoint = folder / f"{name}.npz"
        data = Data(shift_pixels=1)
        run = fit.TrainingRun(dataset, DIGITS, training, "train", data, checkpoint=checkpoint)
        result = fit.fit(model, run)
        weights = [weight.tolist() for weight in model.get_weights()]
        found[name] = {**result.model_dump(), "weights": weights}
    (folder / "result.json").write_text(json.dumps(found))
