from __future__ import annotations

import numpy as np
import pytest

from stages.datasets.base import DataSet, Split
from stages.datasets.loading import load_dataset, load_test_split
from stages.datasets.several import check_judged
from stages.datasets.targets import check_learnable, checked, likely_task
from stages.errors import DataError
from stages.settings import Data
from stages.tasks import base as tasks
from stages.tasks.registry import TaskName

N = 12
IMAGES = np.zeros((N, 4, 4, 1), np.uint8)
LABELS = np.arange(N) % 3
FLAGS = np.stack([np.arange(N) % 2, np.arange(N) % 3 == 0], axis=1).astype(np.uint8)
MASKS = np.tile(np.arange(4, dtype=np.uint8) % 2, (N, 4, 1))
VALUES = np.linspace(0.5, 9.5, N)


def split(labels: np.ndarray) -> Split:
    return Split(IMAGES, labels, origin="set.npz")


@pytest.mark.parametrize(
    ("labels", "task"),
    [
        (LABELS, "classification"),
        (LABELS[:, None].astype(np.uint8), "classification"),
        (FLAGS, "multilabel"),
        (FLAGS.astype(bool), "multilabel"),
        (VALUES, "regression"),
        (np.stack([VALUES, -VALUES], axis=1), "regression"),
        (MASKS, "segmentation"),
        (MASKS[..., None].astype(np.int32), "segmentation"),
    ],
)
def test_the_task_is_that_which_the_labels_tell(labels: np.ndarray, task: TaskName) -> None:
    assert likely_task(split(labels)) == task


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.eye(N, dtype=np.uint8), "may be one-hot classes or one label each"),
        (LABELS.astype(np.float32), "whole numbers from 0 to 2: classes or measured numbers"),
        (np.array(["a"] * N), r"the labels are <U1 \(12,\), expected class numbers"),
        (LABELS[:, None].repeat(2, 1), r"the labels are int64 \(12, 2\), expected class numbers"),
    ],
)
def test_labels_that_may_be_two_things_are_asked_about(labels: np.ndarray, words: str) -> None:
    with pytest.raises(DataError, match=f"set.npz: .*{words}") as caught:
        likely_task(split(labels))
    assert caught.value.hint


@pytest.mark.parametrize(
    ("task", "labels", "words"),
    [
        ("multilabel", FLAGS * [1, 0], "no training image has the label 'b'"),
        ("multilabel", FLAGS | [0, 1], "every training image has the label 'b'"),
        ("regression", np.stack([VALUES, 0 * VALUES], 1), "the target 'b' is 0 for every"),
        ("segmentation", 0 * MASKS, "the masks of the training part have one class"),
    ],
)
def test_what_cannot_be_learned_is_refused_by_name(
    task: TaskName, labels: np.ndarray, words: str
) -> None:
    found = checked(split(labels.astype(VALUES.dtype if task == "regression" else np.uint8)),
                    task, ("a", "b"), "training")  # fmt: skip
    with pytest.raises(DataError, match=words):
        check_learnable(found, task, ("a", "b"))


def test_masks_of_another_size_than_the_images_are_refused_with_both() -> None:
    with pytest.raises(DataError, match=r"masks are \(4, 3\), the images \(4, 4\)"):
        checked(split(MASKS[:, :, :3]), "segmentation", ("a", "b"), "training")


@pytest.mark.parametrize(
    ("task", "labels", "words"),
    [
        ("binary", np.zeros(N, np.int64), "all 12 test images are of the class 'a'"),
        ("multilabel", np.zeros((N, 2), np.uint8), "none of the 12 test images has any label"),
        ("regression", np.ones((N, 1), np.float32), "the targets of all 12 test images are equal"),
    ],
)
def test_a_part_on_which_any_answer_scores_the_same_is_refused(
    task: TaskName, labels: np.ndarray, words: str
) -> None:
    good = {"binary": LABELS % 2, "multilabel": FLAGS, "regression": VALUES[:, None]}[task]
    fine, empty = split(good), split(labels)
    check_judged(DataSet("few", fine, fine, fine, fine, ("a", "b"), task))
    with pytest.raises(DataError, match=words):
        check_judged(DataSet("few", fine, fine, fine, empty, ("a", "b"), task))


def test_numbers_of_objects_are_no_classes_of_pixels() -> None:
    many = split(np.arange(N * 16).reshape(N, 4, 4) * 100_000)
    names = tasks.of("segmentation").names((), many.labels)
    with pytest.raises(DataError, match="is 19100000, expected class numbers from 0 to 254"):
        checked(many, "segmentation", names, "training")


def save(folder: str, labels: np.ndarray, test: np.ndarray) -> Data:
    images = np.random.default_rng(0).integers(0, 255, (len(labels), 4, 4, 1), np.uint8)
    np.savez(folder, x_train=images, y_train=labels, x_test=images[: len(test)], y_test=test)
    return Data(name="npz", path=folder, calibration_samples=8, validation_share=0.2)


def test_rare_labels_are_in_every_split(tmp_path) -> None:
    labels = np.zeros((100, 3), np.uint8)
    labels[:10, 0], labels[5:50, 1], labels[::2, 2] = 1, 1, 1
    found = load_dataset(save(f"{tmp_path}/a.npz", labels, labels[:20]))
    assert found.task == "multilabel"
    assert found.class_names == ("0", "1", "2")
    shares = [each.labels[:, 0].sum() for each in (found.validation, found.train)]
    assert shares[0] == 2
    assert shares[1] >= 7


def test_low_and_high_numbers_are_in_every_split(tmp_path) -> None:
    values = np.sort(np.random.default_rng(0).normal(50, 9, 160))
    found = load_dataset(save(f"{tmp_path}/a.npz", values, values[:9]))
    assert found.task == "regression"
    means = [each.labels.mean() for each in (found.validation, found.calibration, found.train)]
    assert np.ptp(means) < 3
    assert load_test_split(Data(name="npz", path=f"{tmp_path}/a.npz")).labels.shape == (9, 1)


def test_whole_numbers_are_measured_ones_if_the_settings_say_so(tmp_path) -> None:
    ages = np.random.default_rng(0).integers(18, 90, 200)
    data = save(f"{tmp_path}/a.npz", ages, ages[:9])
    assert load_dataset(data, "regression").train.labels.dtype == np.float32
    with pytest.raises(DataError, match="a training label is 89, but"):
        load_dataset(data)
