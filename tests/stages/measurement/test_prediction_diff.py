from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stages.artifacts.signature import Input, Signature
from stages.datasets.base import Split
from stages.measurement import prediction_diff, shown_images
from stages.numerics import fields
from stages.results.engines import PredictionDiff, ShownImages
from stages.tasks.base import Answers

SIGNATURE = Signature((1, 1, 1), ("a", "b", "c"), 1.0, 0.0)
TABLE = Input("table", (2,), 1.0, 0.0, "NC", "float32", "float32")
DEPTH = Input("depth", (1, 1, 1), 1.0, 0.0, "NHWC", "float32", "float32")
CAMERA = Input("camera", (1, 1, 1), 1.0, 0.0, "NHWC", "float32", "uint8")
LABELS = np.array([0, 1, 2, 0, 1, 2])
BEFORE = np.array([0, 1, 2, 1, 2, 0])
AFTER = np.array([0, 2, 0, 0, 0, 0])
"""Kept right; lost; lost; won; wrong in another way; wrong in the same way."""


def said(classes: np.ndarray, labels: np.ndarray = LABELS) -> Answers:
    """The answers of a network that names these classes."""
    return Answers.of(np.eye(3, dtype=np.float32)[classes], labels, SIGNATURE)


def split(labels: np.ndarray) -> Split:
    """Images whose only pixel is their number."""
    pixels = np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1)
    return Split(pixels, labels.astype(np.int64))


def test_changes_are_counted_by_kind() -> None:
    counts = prediction_diff.count(said(BEFORE), said(AFTER), "litert.int8")
    assert counts == PredictionDiff(engine="litert.int8", lost=2, won=1, other=1)


def test_the_images_are_kept_with_their_place_truth_and_both_answers(tmp_path: Path) -> None:
    changed = prediction_diff.changed_images(
        split(LABELS), said(BEFORE), said(AFTER), ShownImages()
    )
    prediction_diff.write(tmp_path, {"": changed})
    with np.load(tmp_path / prediction_diff.FILE) as kept:
        assert kept["indices"].tolist() == [1, 2, 3, 4]
        assert kept["images"].ravel().tolist() == [1, 2, 3, 4]
        assert kept["images"].dtype == np.uint8
        assert kept["labels"].tolist() == [1, 2, 0, 1]
        assert kept["before"].tolist() == [1, 2, 1, 2]
        assert kept["after"].tolist() == [2, 0, 0, 0]


def test_of_many_changes_the_first_of_every_kind_are_kept() -> None:
    labels = np.tile([0, 1], 50)
    before, after = (said(each, labels) for each in (np.zeros(100, int), np.ones(100, int)))
    kept = prediction_diff.changed_images(split(labels), before, after, ShownImages())
    most = prediction_diff.MOST_IMAGES
    assert kept["indices"].tolist() == [*range(0, 2 * most, 2), *range(1, 2 * most, 2)]


def test_where_nothing_changed_no_file_is_left(tmp_path: Path) -> None:
    same = said(BEFORE)
    changed = prediction_diff.changed_images(split(LABELS), same, same, ShownImages())
    prediction_diff.write(tmp_path, {"": changed, "kind": {}})
    assert list(tmp_path.iterdir()) == []


def test_of_several_inputs_the_first_image_of_pixels_is_kept() -> None:
    pixels = split(LABELS).images
    numbers = np.zeros((6, 2), np.float32)
    both = fields.joined({"camera": pixels, "depth": pixels.astype(np.float32), "table": numbers})
    shown = shown_images.found(replace(SIGNATURE, inputs=(TABLE, DEPTH, CAMERA)))
    assert shown == ShownImages(input="camera")
    test = Split(both, LABELS)
    kept = prediction_diff.changed_images(test, said(BEFORE), said(AFTER), shown)
    assert kept["images"].dtype == np.uint8
    assert kept["images"].ravel().tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "signature",
    [
        replace(SIGNATURE, inputs=(TABLE, DEPTH)),
        replace(SIGNATURE, data_dtype="float32"),
        replace(SIGNATURE, input_shape=(1, 1, 5)),
    ],
    ids=["no input of pixels", "floats", "five channels, which no image file has"],
)
def test_where_nothing_can_be_drawn_that_is_said(signature: Signature) -> None:
    shown = shown_images.found(signature)
    assert shown == ShownImages(reason="no input is an image of uint8, gray or RGB")
    test = Split(signature.noise(len(LABELS)), LABELS)
    assert prediction_diff.changed_images(test, said(BEFORE), said(AFTER), shown) == {}
