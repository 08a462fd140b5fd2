"""One worker of a training, as a process of its own: tests start two of them.

    python workers.py FOLDER DEVICES NETWORKS [KILL_AFTER]

Trains small networks on real digits, `plain` or `normalised` or both with a comma, and writes
what came out to FOLDER/result.json, or the error to FOLDER/error.txt. After epoch KILL_AFTER of
EPOCHS the process kills itself.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
from pathlib import Path

import keras
from keras import layers

from stages.artifacts.signature import Signature
from stages.datasets.loading import load_dataset
from stages.errors import UserError
from stages.results.training import Epoch
from stages.settings import Data, Training
from stages.training import evidence, fit

EPOCHS = 3
DIGITS = Signature((28, 28, 1), tuple("0123456789"), 1 / 255, 0.0)


def network(normalised: bool) -> keras.Model:
    image = keras.Input((28, 28, 1), name="image")
    x = layers.Conv2D(8, 5, strides=3)(image)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.8)(x) if normalised else x)
    return keras.Model(image, layers.Dense(10)(layers.Flatten()(x)))


def main(folder: Path, devices: str, networks: str, kill_after: int = 0) -> None:
    report = evidence.report

    def report_and_die(epoch: Epoch, whole: int) -> None:
        report(epoch, whole)
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
    gc.freeze()  # Else Python searches all of TensorFlow for garbage before it ends.


if __name__ == "__main__":
    out = Path(sys.argv[1])
    out.mkdir(exist_ok=True)
    try:
        main(out, *sys.argv[2:4], *map(int, sys.argv[4:]))
    except UserError as error:
        (out / "error.txt").write_text(str(error))
        sys.exit(1)
