"""The data set and the network of a training, and what each says of the other."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import keras

from stages import models
from stages.artifacts.signature import Signature
from stages.datasets.base import DataSet
from stages.datasets.loading import load_dataset
from stages.datasets.several import asked_as
from stages.errors import SettingsError
from stages.settings import Quality, TrainStage
from stages.tasks.registry import TaskName
from stages.training.description import (
    describe,
    output_shapes,
    refuse_other_masks,
    refuse_unjudged,
    with_order,
    with_output,
)


def load(settings: TrainStage) -> DataSet:
    """The data set, as it is divided; labels in a dictionary have no task of their own where a
    metric of the user's judges them, unless model.tasks gives them one."""
    rest: TaskName | None = "raw" if settings.quality.metric else None
    return load_dataset(settings.data, settings.model.wanted, rest)


def _sha256(quality: Quality) -> str:
    """Of the user's code of the metric, "" without one."""
    code = [file.read_bytes() for file in quality.external_files()]
    return hashlib.sha256(b"\0".join(code)).hexdigest() if code else ""


def create(settings: TrainStage, dataset: DataSet) -> tuple[keras.Model, Signature, DataSet]:
    """The network, its signature, and the data set with the tasks that both tell.

    Raises ModelError and SettingsError for what does not fit together.
    """
    quality, signature = settings.quality, describe(dataset, settings.data)
    model = models.create(
        settings.model,
        {each.name: each.input_shape for each in signature.inputs} or signature.input_shape,
        output_shapes(signature, settings.model.wanted),
        signature.scaling,
        has_unlabelled=quality.metric is not None,
    )
    signature = replace(
        with_output(with_order(signature, model), model, dataset),
        metric=quality.metric or "",
        metric_sha256=_sha256(quality),
        higher_is_better=quality.higher_is_better,
    )
    refuse_unjudged(signature)
    refuse_other_masks(signature, dataset)
    if absent := set(settings.model.tasks) - set(signature.output_names):
        raise SettingsError(
            f"model.tasks names {sorted(absent)[0]!r}, the outputs of the network are "
            f"{', '.join(signature.output_names)}",
            "use these names",
        )
    return model, signature, asked_as(dataset, signature)
