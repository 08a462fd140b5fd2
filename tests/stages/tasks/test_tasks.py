"""What all tasks have in common, and each against an independent computation."""

from __future__ import annotations

import dataclasses
import inspect
import tracemalloc
from typing import Any

import numpy as np
import pytest
from scipy import special
from sklearn import metrics

from stages.artifacts.signature import Signature
from stages.errors import DataError
from stages.results.training import Classification
from stages.tasks import base, segmentation
from stages.tasks.base import Answers, Task
from stages.tasks.registry import MAIN, METRICS, TASKS, TaskName

RNG = np.random.default_rng(0)
N, SIZE = 60, 6


def signature(task: TaskName, names: int, shape: tuple[int, ...], **more: Any) -> Signature:
    words = tuple(f"n{number}" for number in range(names))
    return Signature((SIZE, SIZE, 1), words, 1.0, 0.0, task=task, output_shape=shape, **more)


def noisy(truth: np.ndarray) -> np.ndarray:
    return (3.0 * (truth - 0.5) + RNG.normal(0, 1.5, truth.shape)).astype(np.float32)


CLASSES = RNG.integers(0, 3, N)
YES = RNG.integers(0, 2, N)
LABELS = RNG.integers(0, 2, (N, 4)).astype(np.uint8)
VALUES = RNG.normal(40, 12, (N, 2)).astype(np.float32)
MASKS = RNG.integers(0, 3, (N, SIZE, SIZE)).astype(np.uint8)
MASKS[0, :2] = 255

CASES: dict[TaskName, tuple[Signature, np.ndarray, np.ndarray]] = {
    "classification": (
        signature("classification", 3, ()),
        noisy(np.eye(3)[CLASSES]),
        CLASSES.astype(np.int64),
    ),
    "binary": (
        signature("binary", 2, (1,), thresholds=(0.4,)),
        noisy(YES[:, None]),
        YES.astype(np.int64),
    ),
    "multilabel": (
        signature("multilabel", 4, (), thresholds=(0.3, 0.5, 0.6, 0.5)),
        noisy(LABELS),
        LABELS,
    ),
    "regression": (
        signature("regression", 2, (), output="values"),
        (VALUES + RNG.normal(0, 5, VALUES.shape)).astype(np.float32),
        VALUES,
    ),
    "segmentation": (
        signature("segmentation", 3, (SIZE, SIZE, 3)),
        noisy(np.eye(3)[np.minimum(MASKS, 2)]),
        MASKS,
    ),
}
"""Signature, outputs and targets of a network that is often right."""
every_task = pytest.mark.parametrize("name", CASES)


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values.astype(np.float64)))


@every_task
def test_a_task_has_what_the_contract_says(name: TaskName) -> None:
    module = base.of(name)
    wanted = {key for key, _ in inspect.getmembers(Task) if not key.startswith("_")}
    wanted |= {"OUTPUTS", "TOLERANCE"}
    assert {key for key in wanted if not hasattr(module, key)} == set()
    assert set(TASKS) == set(MAIN) == set(TASKS)
    assert MAIN[name] in METRICS


@every_task
def test_every_measure_has_words_and_the_one_that_decides_is_the_score(name: TaskName) -> None:
    own, outputs, targets = CASES[name]
    found = base.of(name).quality(outputs, targets, own)
    assert found.samples == N
    assert set(found.measures or {}) <= set(METRICS)
    assert found.score == pytest.approx(Answers.of(outputs, targets, own).score)
    assert found.score is not None
    assert found.score < 1


@every_task
def test_right_answers_score_one_and_none_is_lost_against_itself(name: TaskName) -> None:
    own, outputs, targets = CASES[name]
    perfect = {
        "classification": np.eye(3)[CLASSES],
        "binary": 20.0 * YES[:, None] - 10,
        "multilabel": 20.0 * LABELS - 10,
        "regression": VALUES,
        "segmentation": np.eye(3)[np.minimum(MASKS, 2)],
    }[name].astype(np.float32)
    found = Answers.of(perfect, targets, own)
    assert found.score == pytest.approx(1.0)
    assert found.errors.tolist() == [0.0] * N
    same = Answers.of(outputs, targets, own)
    change = same.change_to(same)
    assert change is None or (change.low, change.high) == (0.0, 0.0)
    assert base.of(name).agreement(outputs, outputs, own) == 1.0
    assert base.of(name).unexplained(outputs, outputs, 0.0, own) == 0


@every_task
def test_a_better_network_has_a_gain_above_nothing(name: TaskName) -> None:
    own, outputs, targets = CASES[name]
    worse = outputs + RNG.normal(0, 4 * outputs.std(), outputs.shape).astype(np.float32)
    before, after = (Answers.of(each, targets, own) for each in (worse, outputs))
    change = before.change_to(after)
    assert after.score > before.score
    assert change is None or change.low > 0


@every_task
def test_values_that_are_not_finite_are_never_explained(name: TaskName) -> None:
    own, outputs, _ = CASES[name]
    broken = outputs.copy()
    broken[7] = np.nan
    assert base.of(name).unexplained(outputs, broken, 1e9, own) == 1


@every_task
def test_a_small_move_is_explained_and_a_large_one_is_not(name: TaskName) -> None:
    own, outputs, _ = CASES[name]
    moved = outputs + RNG.uniform(-0.1, 0.1, outputs.shape).astype(np.float32)
    assert base.of(name).unexplained(outputs, moved, 0.11, own) == 0
    assert base.of(name).unexplained(outputs, -outputs, 0.11, own) > 0


@every_task
def test_splits_get_their_share_of_every_stratum(name: TaskName) -> None:
    found = base.of(name).strata(CASES[name][2])
    assert found.shape == (N,)
    assert found.dtype == np.int64
    assert set(found.tolist()) == set(range(int(found.max()) + 1)) - ({0} - set(found.tolist()))


def test_binary_metrics_are_those_of_scikit_learn() -> None:
    own, outputs, targets = CASES["binary"]
    found = base.of("binary").quality(outputs, targets, own)
    assert found.measures is not None
    yes = sigmoid(outputs[:, 0]) >= 0.4
    assert found.measures["roc_auc"] == pytest.approx(metrics.roc_auc_score(targets, outputs[:, 0]))
    assert found.measures["f1"] == pytest.approx(metrics.f1_score(targets, yes))
    assert found.measures["accuracy"] == pytest.approx(np.mean(yes == targets))
    assert found.measures["threshold"] == 0.4
    assert found.recall_macro == pytest.approx(metrics.balanced_accuracy_score(targets, yes))


def test_multilabel_metrics_are_those_of_scikit_learn() -> None:
    own, outputs, targets = CASES["multilabel"]
    found = base.of("multilabel").quality(outputs, targets, own)
    assert found.measures is not None
    yes = sigmoid(outputs) >= own.thresholds
    assert found.measures["mean_average_precision"] == pytest.approx(
        metrics.average_precision_score(targets, outputs, average="macro")
    )
    assert found.measures["f1_macro"] == pytest.approx(
        metrics.f1_score(targets, yes, average="macro")
    )
    described = base.of("multilabel").describe(outputs, targets, own)
    assert described is not None
    assert scores_of(described) == pytest.approx(
        np.transpose(metrics.precision_recall_fscore_support(targets, yes))
    )


def scores_of(described: Classification) -> np.ndarray:
    """Precision, recall, F1 and support: (classes, 4)."""
    return np.array([list(each.model_dump().values()) for each in described.per_class])


def test_regression_metrics_are_those_of_scikit_learn() -> None:
    own, outputs, targets = CASES["regression"]
    found = base.of("regression").quality(outputs, targets, own).measures
    assert found is not None
    assert found["r2"] == pytest.approx(metrics.r2_score(targets, outputs))
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(targets, outputs))
    assert found["rmse"] == pytest.approx(np.sqrt(metrics.mean_squared_error(targets, outputs)))
    loss = base.of("regression").loss(outputs, targets, own)
    assert loss == pytest.approx(1 - found["r2"], rel=1e-6)


def test_segmentation_metrics_leave_out_what_is_not_judged() -> None:
    own, outputs, targets = CASES["segmentation"]
    judged = targets != 255
    answers = outputs.argmax(axis=-1)[judged]
    found = base.of("segmentation").quality(outputs, targets, own).measures
    assert found is not None
    assert found["mean_iou"] == pytest.approx(
        metrics.jaccard_score(targets[judged], answers, average="macro")
    )
    assert found["pixel_accuracy"] == pytest.approx(np.mean(answers == targets[judged]))
    described = base.of("segmentation").describe(outputs, targets, own)
    assert described is not None
    assert described.confusion == tuple(
        map(tuple, metrics.confusion_matrix(targets[judged], answers).tolist())
    )
    assert scores_of(described) == pytest.approx(
        np.transpose(metrics.precision_recall_fscore_support(targets[judged], answers))
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_the_loss_of_masks_is_the_same_whatever_batches_they_come_in(channels: int) -> None:
    own = signature("segmentation", 3 if channels > 1 else 2, (SIZE, SIZE, channels))
    outputs = RNG.normal(size=(N, SIZE, SIZE, channels)).astype(np.float32)
    targets = np.where(MASKS == 2, 255, MASKS % 2)
    whole = segmentation.loss(outputs, targets, own)
    parts = [slice(0, 7), slice(7, 8), slice(8, N)]
    rows = [segmentation.losses(outputs[part], targets[part], own) for part in parts]
    assert segmentation.mean_loss(np.concatenate(rows)) == whole
    judged = targets != 255
    logits = outputs if channels > 1 else np.concatenate([0 * outputs, outputs], axis=-1)
    probabilities = special.softmax(logits[judged].astype(np.float64), axis=1)
    expected = metrics.log_loss(targets[judged], probabilities, labels=range(max(channels, 2)))
    assert whole == pytest.approx(expected)


def test_the_loss_of_masks_takes_less_memory_than_their_outputs() -> None:
    own = signature("segmentation", 8, (64, 64, 8))
    outputs = np.zeros((32, 64, 64, 8), np.float32)
    targets = np.zeros((32, 64, 64), np.uint8)
    tracemalloc.start()
    segmentation.loss(outputs, targets, own)
    segmentation.masks_of(outputs, own)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < outputs.nbytes / 2


def test_one_channel_of_a_mask_is_that_of_the_second_class() -> None:
    own = signature("segmentation", 2, (SIZE, SIZE, 1), output="probabilities")
    outputs = RNG.random((N, SIZE, SIZE, 1)).astype(np.float32)
    targets = (MASKS == 1).astype(np.uint8)
    found = base.of("segmentation").quality(outputs, targets, own).measures
    assert found is not None
    answers = (outputs[..., 0] >= 0.5).ravel()
    expected = metrics.jaccard_score(targets.ravel(), answers, average="macro")
    assert found["mean_iou"] == pytest.approx(expected)


@pytest.mark.parametrize("name", ["binary", "multilabel"])
def test_logits_and_their_sigmoids_are_judged_alike(name: TaskName) -> None:
    own, outputs, targets = CASES[name]
    shares = sigmoid(outputs).astype(np.float32)
    as_shares = dataclasses.replace(own, output="probabilities")
    task = base.of(name)
    assert task.quality(outputs, targets, own) == task.quality(shares, targets, as_shares)
    assert task.loss(outputs, targets, own) == pytest.approx(
        task.loss(shares, targets, as_shares), rel=1e-5
    )
    assert task.thresholds(outputs, targets, own) == pytest.approx(
        task.thresholds(shares, targets, as_shares), rel=1e-5
    )


def test_thresholds_are_those_of_the_highest_f1() -> None:
    own, outputs, targets = CASES["multilabel"]
    chosen = base.of("multilabel").thresholds(outputs, targets, own)
    shares = sigmoid(outputs)
    for at, threshold in enumerate(chosen):
        reached = metrics.f1_score(targets[:, at], shares[:, at] >= threshold)
        others = [metrics.f1_score(targets[:, at], shares[:, at] >= each) for each in shares[:, at]]
        assert reached == pytest.approx(max(others))


BAD: list[tuple[TaskName, np.ndarray, int, str]] = [
    ("binary", YES, 3, "there are 3 classes, expected two"),
    ("multilabel", LABELS[:, :3], 4, r"shape \(60, 3\), expected \(N, 4\)"),
    ("multilabel", LABELS + 1, 4, "a label is 2, expected 0 or 1"),
    ("regression", np.full((N, 2), np.nan), 2, "120 of 120 targets are NaN or infinite"),
    ("regression", VALUES, 3, r"float32 \(60, 2\), expected numbers \(N, 3\)"),
    ("regression", np.array([["a"]]), 1, "expected numbers"),
    ("regression", np.array([[1.0], [1e39]]), 1, "1 of 2 targets are NaN or infinite in float32"),
    ("segmentation", CLASSES, 3, "expected a class number for each pixel"),
    ("segmentation", MASKS, 2, "a pixel of mask 1 of 60 is 2, expected class numbers from 0 to 1"),
]


@pytest.mark.parametrize(("name", "targets", "names", "words"), BAD)
def test_unfit_targets_are_refused(
    name: TaskName, targets: np.ndarray, names: int, words: str
) -> None:
    with pytest.raises(DataError, match=f"set: .*{words}") as caught:
        base.of(name).checked(targets, tuple(map(str, range(names))), "set")
    assert caught.value.hint
