from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from stages.artifacts.signature import Head, Signature
from stages.engines.base import Engine, Images, Logits
from stages.errors import EngineError
from stages.measurement import accuracy
from stages.numerics import fields
from stages.tasks import base as tasks
from stages.tasks import segmentation
from stages.tasks.base import Answers
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


class Painter(Engine):
    """Three values for each pixel: its own, half of 1, and a quarter of its neighbour's."""

    def _open(self) -> None:
        pass

    def _infer(self, images: Images) -> Logits:
        values = [images, np.full_like(images, 0.5), np.roll(images, 1, axis=2) / 4]
        return np.concatenate(values, axis=-1).astype(np.float32)

    def _close(self) -> None:
        pass


MASKS = Signature(
    (8, 8, 1), tuple("abc"), 1 / 255, 0.0, task="segmentation", output_shape=(8, 8, 3)
)


def test_masks_are_judged_batch_by_batch_as_all_their_logits_would_be(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (7, 8, 8, 1), np.uint8)
    truth = random.choice(np.array([0, 1, 2, 255], np.uint8), (7, 8, 8))
    (tmp_path / "painter.bin").touch()
    with Painter(tmp_path / "painter.bin", MASKS) as engine:
        whole = accuracy.logits(engine, images, batch_size=7)
        kept = accuracy.answers(engine, images, batch_size=3)
        found = accuracy.accuracy(engine, images, truth, batch_size=3)
    assert (kept.dtype, kept.nbytes) == (np.uint8, 7 * 64)
    np.testing.assert_array_equal(kept, whole.argmax(axis=-1))
    task = tasks.of("segmentation")
    assert found == task.quality(whole, truth, MASKS)
    assert task.describe(kept, truth, MASKS) == task.describe(whole, truth, MASKS)
    first, second = (Answers.of(each, truth, MASKS) for each in (kept, whole))
    assert first.score == second.score
    for name in ("evidence", "errors"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


class PainterWithMean(Painter):
    """The same as the field "mask", and the mean of the pixels."""

    def _infer(self, images: Images) -> Logits:
        return self.signature.joined([images.mean(axis=(1, 2)), super()._infer(images)])


def test_of_several_outputs_too_no_more_logits_of_masks_are_held_than_those_of_a_batch(
    tmp_path: Path,
) -> None:
    heads = (
        Head("mean", "regression", "values", ("mean",), ()),
        Head("mask", "segmentation", "logits", tuple("abc"), (8, 8, 3)),
    )
    signature = dataclasses.replace(MASKS, class_names=(), task="several", heads=heads)
    images = np.random.default_rng(0).integers(0, 256, (7, 8, 8, 1), np.uint8)
    (tmp_path / "painter.bin").touch()
    with PainterWithMean(tmp_path / "painter.bin", signature) as engine:
        whole = accuracy.logits(engine, images, batch_size=7)
        kept = accuracy.answers(engine, images, batch_size=3)
        own = dataclasses.replace(signature, metric="mine:score")
        assert segmentation.judged(whole, own)["mask"].shape == (7, 8, 8, 3)
    assert (kept.dtype["mask"].base, kept.dtype.itemsize) == (np.uint8, 64 + 4)
    truth = fields.joined({"mean": whole["mean"], "mask": kept["mask"]})
    task = tasks.of("several")
    assert task.quality(kept, truth, signature) == task.quality(whole, truth, signature)


def test_a_metric_of_the_users_gets_the_logits_of_masks_and_not_their_classes(
    tmp_path: Path,
) -> None:
    (tmp_path / "painter.bin").touch()
    own = dataclasses.replace(MASKS, metric="mine:score")
    with Painter(tmp_path / "painter.bin", own) as engine:
        assert accuracy.answers(engine, np.zeros((2, 8, 8, 1), np.uint8), 2).shape == (2, 8, 8, 3)
