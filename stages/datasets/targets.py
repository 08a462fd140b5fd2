"""The labels of a data set as targets of a task."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from stages.datasets.base import Split
from stages.datasets.inputs import forms
from stages.errors import DataError
from stages.tasks import base as tasks
from stages.tasks.registry import TaskName
from stages.tasks.segmentation import UNJUDGED, numbers_in

FOUND_BY_LABELS: tuple[TaskName, ...] = (
    "classification",
    "multilabel",
    "regression",
    "segmentation",
)
"""A yes or no looks like two classes: what the network returns tells them apart."""
MOST_CLASSES = 1000
"""More whole numbers in floats are a measurement."""


def likely_task(split: Split, setting: str = "model.task={}") -> TaskName:
    """The task of labels (N, ...), where they leave no doubt, or DataError.

    `setting` is what would say it, with braces for the task.
    """
    labels = split.labels
    fitting = [name for name in FOUND_BY_LABELS if tasks.of(name).fits(labels)]
    if not fitting:
        raise DataError(
            f"{split.origin}: the labels are {labels.dtype} {labels.shape}, expected class numbers "
            "(N,), 0 and 1 (N, labels), numbers (N, values) or masks (N, height, width)",
            "see docs/tasks.md for what each task needs",
        )
    if fitting[0] == "multilabel" and (labels.sum(axis=1) == 1).all():
        raise DataError(
            f"{split.origin}: one of the {labels.shape[1]} columns is 1 for every image, which may "
            "be one-hot classes or one label each",
            f"labels.argmax(axis=1) for classes, or: --set {setting.format('multilabel')}",
        )
    values = np.unique(labels) if fitting[0] == "regression" else labels[:0]
    is_whole = 0 < len(values) <= MOST_CLASSES and bool((values == np.round(values)).all())
    if is_whole and values.min() == 0 and len(values) == values.max() + 1:
        raise DataError(
            f"{split.origin}: the labels are {labels.dtype}, but whole numbers from 0 to "
            f"{values.max():g}: classes or measured numbers?",
            "store classes as integers, or in a CSV file name data.label_column; for numbers: "
            f"--set {setting.format('regression')}",
        )
    return fitting[0]


def checked(split: Split, task: TaskName, names: tuple[str, ...], part: str) -> Split:
    """`split` with targets in the form of `task`, and its strata. Raises DataError."""
    module = tasks.of(task)
    targets = module.checked(split.labels, names, split.origin)
    if task in ("classification", "binary"):
        _check_classes(targets, names, part)
        return replace(split, labels=targets)
    if task == "segmentation":
        _check_size(targets, split)
    return replace(split, labels=targets, strata=module.strata(targets))


def _check_size(masks: tasks.Targets, split: Split) -> None:
    """Of several inputs that are images one is as large as the masks."""
    sizes = {form.shape[:2] for form in forms(split.images).values() if form.is_image}
    if masks.shape[1:] not in sizes:
        raise DataError(
            f"{split.origin}: the masks are {masks.shape[1:]}, the images "
            f"{' and '.join(map(str, sorted(sizes))) or 'none'} (height, width), expected the same",
            "resize the masks with the images, to the nearest pixel",
        )


def _check_classes(labels: tasks.Targets, names: tuple[str, ...], part: str) -> None:
    highest = int(labels.max())
    if highest >= len(names):
        raise DataError(
            f"a {part} label is {highest}, but the training part has {len(names)} classes: "
            f"expected 0 to {len(names) - 1}",
            "number the classes from 0 without gaps",
        )


def check_learnable(split: Split, task: TaskName, names: tuple[str, ...]) -> None:
    """Raises DataError where the training part does not have what the task is to tell apart."""
    if task in ("classification", "binary"):
        _check_every_class(split, names)
    elif task == "multilabel":
        counts = split.labels.sum(axis=0)
        for name, count in zip(names, counts.tolist(), strict=True):
            if count in (0, len(split)):
                share = "no training image has" if count == 0 else "every training image has"
                raise DataError(
                    f"{share} the label {name!r}, so it cannot be learned",
                    "leave its column out, or add images",
                )
    elif task == "regression":
        for name, values in zip(names, split.labels.T, strict=True):
            if values.min() == values.max():
                raise DataError(
                    f"the target {name!r} is {values[0]:g} for every training image, so there is "
                    "nothing to learn",
                    "leave its column out",
                )
    elif task == "segmentation":
        _check_masks(split, names)


def _check_masks(split: Split, names: tuple[str, ...]) -> None:
    """There are two classes to tell apart, and numbers without gaps unless they have names."""
    found = numbers_in(split.labels)
    judged = found[found != UNJUDGED]
    if len(judged) < 2:
        raise DataError(
            "the masks of the training part have one class, expected two or more to tell apart",
            f"{UNJUDGED} is a pixel that is not judged: write 1 for the second class"
            if UNJUDGED in found
            else "add masks of the other classes",
        )
    absent = np.setdiff1d(np.arange(len(names)), judged)
    if absent.size and names == tuple(map(str, range(len(names)))):
        raise DataError(
            f"no pixel of the training masks is {absent[0]}, but classes go up to {len(names) - 1}",
            "number them from 0 without gaps, or name all classes in a folder's classes.txt",
        )


def check_judged(split: Split, task: TaskName, names: tuple[str, ...], part: str) -> None:
    """Raises DataError where the task's metric says nothing of a part, whatever is answered."""
    labels, fix = split.labels, "add images, or hold back more: --set data.validation_share=0.3"
    if task == "binary" and len(np.unique(labels)) < 2:
        raise DataError(
            f"all {len(labels):,} {part} images are of the class {names[int(labels[0])]!r}, so "
            "nothing can be told apart on them",
            fix,
        )
    if task == "multilabel" and not labels.any():
        raise DataError(f"none of the {len(labels):,} {part} images has any label", fix)
    if task == "regression" and (labels == labels[0]).all():
        raise DataError(
            f"the targets of all {len(labels):,} {part} images are equal, so that no error can be "
            "compared with their spread",
            fix,
        )


def _check_every_class(split: Split, names: tuple[str, ...]) -> None:
    """Every class can be learnt."""
    if len(names) < 2:
        raise DataError(
            f"the training part has {len(names)} class, expected two or more to tell apart",
            "add the images of the other classes",
        )
    absent = np.setdiff1d(np.arange(len(names)), split.labels)
    if absent.size:
        raise DataError(
            f"no training image has the label {absent[0]}, but labels go up to {len(names) - 1}",
            "number the classes from 0 without gaps",
        )
