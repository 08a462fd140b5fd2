from __future__ import annotations

from pathlib import Path

import numpy as np

from stages.artifacts.signature import Signature
from stages.datasets.base import Split
from stages.measurement import prediction_diff
from stages.results.engines import PredictionDiff
from stages.tasks.base import Answers

SIGNATURE = Signature((1, 1, 1), ("a", "b", "c"), 1.0, 0.0)
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
    prediction_diff.keep_images(split(LABELS), said(BEFORE), said(AFTER), tmp_path)
    with np.load(tmp_path / prediction_diff.FILE) as kept:
        assert kept["indices"].tolist() == [1, 2, 3, 4]
        assert kept["images"].ravel().tolist() == [1, 2, 3, 4]
        assert kept["images"].dtype == np.uint8
        assert kept["labels"].tolist() == [1, 2, 0, 1]
        assert kept["before"].tolist() == [1, 2, 1, 2]
        assert kept["after"].tolist() == [2, 0, 0, 0]


def test_of_many_changes_the_first_of_every_kind_are_kept(tmp_path: Path) -> None:
    labels = np.tile([0, 1], 50)
    before, after = np.zeros(100, int), np.ones(100, int)
    prediction_diff.keep_images(split(labels), said(before, labels), said(after, labels), tmp_path)
    with np.load(tmp_path / prediction_diff.FILE) as kept:
        most = prediction_diff.MOST_IMAGES
        assert kept["indices"].tolist() == [*range(0, 2 * most, 2), *range(1, 2 * most, 2)]


def test_where_nothing_changed_no_file_is_left(tmp_path: Path) -> None:
    prediction_diff.keep_images(split(LABELS), said(BEFORE), said(BEFORE), tmp_path)
    assert list(tmp_path.iterdir()) == []
