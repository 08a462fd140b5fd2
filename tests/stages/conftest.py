"""What the tests of several stages share."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from stages.artifacts.signature import Signature
from stages.datasets.base import DataSet
from stages.datasets.loading import load_dataset
from stages.settings import Data, Training
from tests.stages.graphs import write_converted, write_tflite

DIGITS = Signature((28, 28, 1), tuple("0123456789"), 1 / 255, 0.0)


@pytest.fixture(scope="session")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ONNX graphs that the convert stage leaves, made without Keras; not to be written to."""
    folder: Path = tmp_path_factory.mktemp("graphs")
    write_converted(folder)
    return folder


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that the first process of `make test` to need it makes; the other one waits.

    As the documentation of pytest-xdist has it for session fixtures that take long.
    """
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = root / name
        if not folder.exists():
            draft = factory.mktemp(name)
            make(draft)
            draft.rename(folder)
    return folder


@pytest.fixture(scope="session")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `graphs`, with the graphs of LiteRT, which TensorFlow makes."""

    def make(folder: Path) -> None:
        write_converted(folder)
        write_tflite(folder)

    return made_once(tmp_path_factory, "converted", make)


@pytest.fixture(scope="session")
def digits() -> DataSet:
    """Real digits, divided as the default settings say."""
    return load_dataset(Data())


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, digits: DataSet) -> Path:
    """What the train stage leaves: a small network that knows digits; not to be written to."""
    return made_once(tmp_path_factory, "trained", partial(_train, digits))


def _train(digits: DataSet, folder: Path) -> None:
    import keras
    from keras import layers

    from stages.models import files
    from stages.training import fit

    keras.utils.set_random_seed(0)
    image = keras.Input(DIGITS.input_shape, name="image")
    x = image
    for name, filters in (("conv1", 8), ("conv2", 16)):
        x = layers.Conv2D(filters, 3, strides=2, use_bias=False, name=name)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    x = layers.Dense(32, activation="relu", name="dense1")(layers.Flatten()(x))
    model = keras.Model(image, layers.Dense(10, name="logits")(x), name="tiny")
    training = Training(epochs=4, batch_size=32, learning_rate=3e-3)
    fit.fit(model, fit.TrainingRun(digits, DIGITS, training, "train"))
    files.save(model, folder / "model.keras")
    DIGITS.write(folder)


@pytest.fixture(scope="session")
def brief_timing() -> Iterator[None]:
    """The latency of a Keras model is measured for as short a time as can be."""
    from stages.training import evaluate

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "WARMUP_SECONDS", 0.001)
        patch.setattr(evaluate, "SECONDS", 0.01)
        yield
