"""One call of the stage `prune`, watched, and one that is killed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from stages import prune
from stages.models import files
from stages.pruning import ways
from stages.pruning.context import PruneContext
from stages.results.pruning import PruneResult
from stages.settings import Data, Prune, PruneStage, Training
from tests.stages.conftest import DIGITS as SIGNATURE

Options = dict[str, Any]
DATA = Data()
FEW = Data(calibration_samples=1000)
"""Leaves a few hundred images to train on."""


READ: set[str] = set()


class Watched(Prune):
    """Settings that tell which of them are read."""

    def __getattribute__(self, name: str) -> Any:
        READ.add(name)
        return super().__getattribute__(name)


def run(
    trained: Path, out: Path, resume: Path | None = None, data: Data = DATA, **options: Any
) -> PruneResult:
    """What the stage does; it must not have read what `ways.unread` says that it does not."""
    out.mkdir(exist_ok=True)
    own = Watched(**{"channel_multiple": 1, "layers": "all", **options})
    unread = ways.unread(own)
    if (way := ways.way_of(own)) == "unpruned":
        # What the record calls it, and what measures the copy.
        unread -= {"method", *Training.model_fields}
    elif way == "2:4":  # which is not 0
        unread.remove("ratio")
    READ.clear()
    measured = prune.run(PruneStage(data=data, prune=own), {"train": trained}, out, resume)
    assert not READ & unread
    return measured


def weights(folder: Path) -> list[np.ndarray]:
    found: list[np.ndarray] = files.load(folder / "model.keras").get_weights()
    return found


def assert_equal(one: Path, other: Path) -> None:
    for left, right in zip(weights(one), weights(other), strict=True):
        np.testing.assert_array_equal(left, right)


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it, nothing cleans up."""


def kill_in_round(monkeypatch: pytest.MonkeyPatch, number: int) -> list[int]:
    """End the process, as it were, in the middle of a round. Returns the rounds begun."""
    whole, begun = PruneContext._work, list[int]()

    def work(*arguments: Any) -> Any:
        begun.append(len(begun) + 1)
        if len(begun) == number:
            raise Killed
        return whole(*arguments)

    monkeypatch.setattr(PruneContext, "_work", work)
    return begun


def with_idle_block(trained: Path, folder: Path) -> Path:
    """The trained network with a residual block that adds zeros, and has 40 % of the parameters."""
    inner = files.load(trained / "model.keras")
    x = image = keras.Input(SIGNATURE.input_shape, name="image")
    for layer in inner.layers[1:]:
        x = layer(x)
        if x.shape[-1] == 16 and isinstance(layer, keras.layers.ReLU):
            y = keras.layers.Conv2D(16, 5, padding="same", activation="relu", name="idle1")(x)
            y = keras.layers.Conv2D(16, 5, padding="same", name="idle2")(y)
            y = keras.layers.BatchNormalization(gamma_initializer="zeros", name="idle_bn")(y)
            x = keras.layers.Add()([x, y])
    folder.mkdir()
    files.save(keras.Model(image, x, name="residual"), folder / "model.keras")
    SIGNATURE.write(folder)
    return folder
