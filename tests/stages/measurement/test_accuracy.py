from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from stages.artifacts.signature import Head
from stages.engines.base import Engine, Images, Logits
from stages.errors import EngineError
from stages.measurement import accuracy
from tests.stages.graphs import SIGNATURE


class BrightPixels(Engine):
    """Names class 1 if the first pixel is bright, and says nan where it is black."""

    def _open(self) -> None:
        self.batches: list[int] = []

    def _infer(self, images: Images) -> Logits:
        self.batches.append(len(images))
        bright = images[:, 0, 0, 0]
        logits = np.where(bright > 0.5, 1.0, np.where(bright > 0, -1.0, np.nan))
        return np.stack([-logits, logits], axis=1).astype(np.float32)

    def _close(self) -> None:
        pass


@pytest.fixture
def engine(tmp_path: Path) -> BrightPixels:
    (tmp_path / "bright.bin").touch()
    opened = BrightPixels(tmp_path / "bright.bin", SIGNATURE)
    opened.open()
    return opened


def pixels(*values: int) -> np.ndarray:
    images = np.zeros((len(values), 8, 8, 1), np.uint8)
    images[:, 0, 0, 0] = values
    return images


def test_all_images_are_run_in_batches_and_the_last_may_be_smaller(engine: BrightPixels) -> None:
    logits = accuracy.logits(engine, pixels(255, 1, 255, 1, 255), batch_size=2)
    assert engine.batches == [2, 2, 1]
    assert logits[:, 1].tolist() == [1, -1, 1, -1, 1]


def test_accuracy_comes_from_the_engines_own_outputs(engine: BrightPixels) -> None:
    labels = np.array([1, 0, 0])
    found = accuracy.accuracy(engine, pixels(255, 1, 255), labels, batch_size=8)
    assert found.top1 == pytest.approx(2 / 3)
    assert found.samples == 3


def test_outputs_that_are_not_finite_are_refused(engine: BrightPixels) -> None:
    with pytest.raises(EngineError, match="logits of 2 of 3 images are not finite") as caught:
        accuracy.accuracy(engine, pixels(0, 255, 0), np.array([0, 1, 0]), batch_size=2)
    assert "bright.bin" in caught.value.message
    assert "build.precisions" in caught.value.hint


class TwoOutputs(BrightPixels):
    """The same as the field "kind" beside a "place" that is always finite."""

    def _infer(self, images: Images) -> Logits:
        return self.signature.joined([images[:, 0, 0, :], super()._infer(images)])


def test_of_several_outputs_the_one_that_is_not_finite_is_named(tmp_path: Path) -> None:
    heads = (
        Head("place", "regression", "values", ("x",), ()),
        Head("kind", "classification", "logits", ("a", "b"), ()),
    )
    (tmp_path / "two.bin").touch()
    signature = dataclasses.replace(SIGNATURE, class_names=(), task="several", heads=heads)
    with TwoOutputs(tmp_path / "two.bin", signature) as engine:
        found = accuracy.logits(engine, pixels(255, 1, 255), batch_size=2)
        assert found["kind"].argmax(axis=1).tolist() == [1, 0, 1]
        with pytest.raises(EngineError, match="the kind of 1 of 3 images are not finite"):
            accuracy.logits(engine, pixels(255, 0, 255), batch_size=2)
