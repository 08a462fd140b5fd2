"""Read a data set and divide it."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from stages.artifacts.signature import Signature
from stages.datasets import inputs, several
from stages.datasets.base import DataSet, DataSetModule, Part, Split, Target
from stages.datasets.registry import DATASETS, PLACES
from stages.datasets.several import OF_CLASSES, Wanted, check_judged, check_learnable, checked
from stages.datasets.splits import divide_groups, hold_back
from stages.errors import DataError, SettingsError, shown
from stages.errors.packages import install, providing
from stages.settings import Data
from stages.tasks.registry import TaskName
from stages.tasks.segmentation import UNJUDGED, numbers_in


def load_dataset(settings: Data, wanted: Wanted = None, rest: TaskName | None = None) -> DataSet:
    """Read the data set and divide it, for the task that is `wanted` or the one that its labels
    tell, or for those of several outputs, of which what is left out is asked `rest`.

    Validation and calibration images are taken out of the training part, class by class or by
    whole groups, as data.seed decides; the test split depends on no setting but data.test_samples.
    Raises DataError where the data are missing, unreadable or unfit, or their task is uncertain,
    SettingsError where they do not suit data.shift_pixels.
    """
    module = _module(settings)
    raw = _raw(module, settings, "train")
    asked = several.targets_of(raw, module.class_names(settings), wanted, rest)
    _check_tasks(settings, asked)
    part = checked(raw, asked, "training")
    _check_shift(settings, part)
    check_learnable(part, asked)
    test = _test_split(_raw(module, settings, "test"), settings, asked)
    if part.images.dtype.names or test.images.dtype.names:
        inputs.refuse_unlike(test.images, inputs.forms(part.images), test.origin, "the test part")
    if part.images.shape[1:] != test.images.shape[1:]:
        raise DataError(
            f"training images are {part.images.shape[1:]} but test images {test.images.shape[1:]} "
            f"({', '.join(PLACES[settings.kind])}, channels), expected the same",
            "resize them to one size",
        )
    if part.images.dtype != test.images.dtype:
        raise DataError(
            f"training {settings.kind} are read as {part.images.dtype} but test {settings.kind} as "
            f"{test.images.dtype}, expected the same",
            "store both in one type",
        )
    validation, calibration, train = _held_back(settings, part, asked)
    splits = (train, validation, calibration, test)
    if asked[0].name:
        found = DataSet(settings.name, *splits, (), "several", tuple(asked))
    else:
        found = DataSet(settings.name, *splits, asked[0].class_names, asked[0].task)
    check_judged(found)
    return found


def load_test_split(settings: Data, signature: Signature | None = None) -> Split:
    """The test split of `load_dataset`, without the training images.

    Its task is that of `signature`, by default the one that the labels tell.
    Machines that only run engines may lack packages of a data set: raises DataError there.
    """
    try:
        module = _module(settings)
        raw = _raw(module, settings, "test")
        if signature is None:
            asked = several.targets_of(raw, module.class_names(settings), None)
        else:
            asked = several.asked_by(signature, raw)
        split = _test_split(raw, settings, asked)
    except ModuleNotFoundError as error:
        raise DataError(
            f"the data set {settings.name!r} needs the package {error.name}, which is missing",
            f"{install([providing(str(error.name))])}, or bring the images as a file: "
            "--set data.name=npz",
        ) from error
    if signature is None:
        return split
    expected = inputs.forms_of(signature)
    if signature.inputs or split.images.dtype.names:
        inputs.refuse_unlike(split.images, expected, split.origin, "the test part")
    elif split.images.dtype != signature.data_dtype:
        raise DataError(
            f"{split.origin}: the test {settings.kind} are read as {split.images.dtype}, expected "
            f"{signature.data_dtype}, as the training had them",
            "store them in that type",
        )
    return split


def _module(settings: Data) -> DataSetModule:
    return cast(DataSetModule, importlib.import_module(DATASETS[settings.name]))


def _test_split(raw: Split, settings: Data, asked: Sequence[Target]) -> Split:
    split = checked(raw, asked, "test")
    if not 0 < settings.test_samples < len(split):
        return split
    return split.sample(settings.test_samples)


def _raw(module: DataSetModule, settings: Data, part: Part) -> Split:
    """One part as it is. Raises DataError for values that are no pixels, but scaled as these."""
    split = module.read(settings, part)
    if split.images.dtype.names:
        inputs.check_settings(settings, split.images)
        return split
    if split.images.dtype == np.uint8:
        return split
    if settings.scale == Data().scale:
        values = split.images[:]
        raise DataError(
            f"{split.origin}: the {settings.kind} hold values from {values.min():g} to "
            f"{values.max():g}, not pixels of uint8, and data.scale is 1/255",
            "as they are: --set data.scale=1",
        )
    if settings.contrast:
        raise SettingsError(
            f"data.contrast: got {settings.contrast}, expected 0 for values that are no uint8",
            "change it in the data instead",
        )
    return split


def _check_tasks(settings: Data, asked: Sequence[Target]) -> None:
    if settings.kind != "images" and any(each.task == "segmentation" for each in asked):
        raise SettingsError(
            f"model.task is 'segmentation', which is of images, and data.kind is {settings.kind!r}",
            "give one label for each sample",
        )


def _check_shift(settings: Data, part: Split) -> None:
    if settings.kind != "images":
        return
    for name, form in inputs.forms(part.images).items():
        is_shifted = form.is_image or not name
        if is_shifted and settings.shift_pixels >= min(form.shape[:2]):
            height, width = form.shape[:2]
            raise SettingsError(
                f"data.shift_pixels: got {settings.shift_pixels}, expected less than the images' "
                f"size, {height} x {width} pixels{f' of {name!r}' if name else ''}",
                "a few pixels are common: --set data.shift_pixels=1",
            )


def _held_back(settings: Data, part: Split, asked: Sequence[Target]) -> tuple[Split, Split, Split]:
    """Validation, calibration and what is left to train on."""
    validation_samples = max(1, round(settings.validation_share * len(part)))
    counts = [validation_samples, settings.calibration_samples]
    least = max(len(each.class_names) for each in asked)
    room = len(part) - validation_samples - least
    if settings.calibration_samples > room:
        raise DataError(
            f"data.calibration_samples is {settings.calibration_samples}, but of {len(part)} "
            f"training images {validation_samples} go to validation and {least} at least are "
            f"to be trained on: at most {max(room, 0)} are left",
            f"use fewer: --set data.calibration_samples={max(1, room // 4)}",
        )
    splits = [part.take(indices) for indices in _divided(settings, part, counts, asked)]
    for each in asked:
        _refuse_emptied(part, splits[2], each)
    return splits[0], splits[1], splits[2]


def _refuse_emptied(part: Split, train: Split, asked: Target) -> None:
    """Raises DataError for a class of `part` that no image has of those left to train on."""
    split, left = (several.of(each, asked.name) for each in (part, train))
    if emptied := _emptied(split, left, asked):
        kind = "label" if asked.task == "multilabel" else "class"
        raise DataError(
            f"the {kind} {emptied[0]!r} has too few training images: "
            "validation and calibration take all of them",
            f"add images of this {kind}, or lower data.calibration_samples",
        )


def _divided(
    settings: Data, part: Split, counts: Sequence[int], asked: Sequence[Target]
) -> tuple[NDArray[np.int64], ...]:
    """The places of the images of each split. Raises DataError where groups leave one empty."""
    strata = part.labels if part.strata is None else part.strata
    if part.groups is None:
        return hold_back(strata, counts, settings.seed)
    divided = divide_groups(strata, part.groups, counts, settings.seed)
    has_classes = any(each.task in OF_CLASSES for each in asked)
    if not has_classes and not all(map(len, divided)):
        # Low and high values are to be in every split if they can, where classes must be.
        divided = divide_groups(np.zeros_like(strata), part.groups, counts, settings.seed)
    _refuse_empty(settings, part.groups, divided, has_classes)
    return divided


def _emptied(part: Split, train: Split, asked: Target) -> list[str]:
    """Classes or labels of `part` that no image has of those that are left to train on."""
    _, task, names = asked
    if task in ("regression", "raw"):
        return []
    if task == "multilabel":
        absent = np.flatnonzero(~train.labels.any(axis=0))
    elif task == "segmentation":
        absent = np.setdiff1d(numbers_in(part.labels), [*numbers_in(train.labels), UNJUDGED])
    else:
        absent = np.setdiff1d(np.arange(len(names)), train.labels)
    return [names[number] for number in absent]


def _refuse_empty(
    settings: Data,
    groups: NDArray[np.int64],
    divided: Sequence[NDArray[np.int64]],
    has_classes: bool,
) -> None:
    """Groups that are too few or too unlike leave a split without any."""
    names = ("validation", "calibration", "training")
    empty = [name for name, part in zip(names, divided, strict=True) if not len(part)]
    if empty:
        sizes = np.bincount(groups)
        sizes = sizes[sizes > 0]
        raise DataError(
            f"data.group_column {shown(settings.group_column)} has {len(sizes)} groups of "
            f"{sizes.min()} to {sizes.max()} training images, which leave none for "
            f"{' and '.join(empty)}{' if training is to keep every class' * has_classes}",
            "add groups, or leave out data.group_column if images of a group are independent",
        )
