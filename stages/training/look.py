"""What a model and a data set are, before any settings are chosen: for `pipeline init`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras

from stages.artifacts.signature import Signature
from stages.datasets import csv_file, folder, masks
from stages.datasets.base import DataSet, Split
from stages.keras_graph.own_scaling import scaling_layers
from stages.measurement.luck import is_above_luck
from stages.models import own_source
from stages.results.asides import Findings, FoundInput, FoundOutput
from stages.settings import Data, Model, TrainStage
from stages.tasks.base import Answers, Outputs
from stages.training import evaluate
from stages.training.baseline import some_of
from stages.training.description import counts, describe, with_output
from stages.training.fit import prepare
from stages.training.network import create, load
from stages.training.scaling import best_settable, refuse_other_scaling

LARGE = 128
"""Pixels from which images of a folder are resized for a network of our own, to `RESIZED`."""
RESIZED = 96
FILES = {"folder": folder, "masks": masks, "csv": csv_file}
"""Data sets whose images can be resized."""
SMALL, SMALLEST = 40, 12
"""Sizes that the networks for small images are made for."""


def run(settings: TrainStage, inputs: Mapping[str, Path], out: Path) -> Findings:
    """Look at the data set, and at the user's model if there is one; nothing is trained.

    Of `settings`, data.name, data.path, model.name and model.source count. Raises DataError and
    ModelError for what the stage `train` would refuse.
    """
    prepare(settings.train)
    source = settings.model.source
    wanted = _size_of(own_source.load(settings.model)) if source else None
    data = settings.data.model_copy(
        update={
            "calibration_samples": 1,
            "image_size": _image_size(settings.data, wanted),
            "scale": 1.0,  # what is no pixel of uint8 stays as it is
        }
    )
    dataset = load(settings.model_copy(update={"data": data}))
    described = describe(dataset, data)
    shape = described.input_shape
    scale = settings.data.scale if described.has_pixels else 1.0
    data = data.model_copy(
        update={"calibration_samples": _calibration_samples(dataset), "scale": scale}
    )
    dataset = load(settings.model_copy(update={"data": data}))  # now as a run will divide it
    is_ours = source is None and settings.model.name == Model().name
    if is_ours and data.kind == "images" and not described.inputs:
        network = "unet" if dataset.task == "segmentation" else suited(shape)
    else:
        network = settings.model.name
    model = settings.model.model_copy(update={"name": network})
    settings = settings.model_copy(update={"data": data, "model": model})
    return Findings(
        input_shape=shape,
        classes=dataset.class_names,
        dataset=counts(dataset),
        network=model.name,
        image_size=data.image_size,
        calibration_samples=data.calibration_samples,
        **_of_model(settings, dataset),
    )


def suited(shape: tuple[int, ...]) -> str:
    """The network of our own for images of `shape` (H, W, C)."""
    if min(shape[:2]) > SMALL:
        return "ds_cnn"
    return "mnist_cnn" if shape[2] == 1 and min(shape[:2]) >= SMALLEST else "resnet8"


def _size_of(model: keras.Model) -> tuple[int | None, int | None] | None:
    """Height and width that a model takes, None where it takes any; None where it is not said."""
    if len(model.inputs) != 1 or len(model.inputs[0].shape) != 4:
        return None
    _, height, width, _ = model.inputs[0].shape
    return height, width


def _image_size(data: Data, wanted: tuple[int | None, int | None] | None) -> int:
    """What `data.image_size` must be: that of the model, one for a network of our own, or 0."""
    if data.name not in FILES:
        return 0
    height, width = wanted or (None, None)
    if height is not None and height == width:
        return height
    is_large = wanted is None and max(FILES[data.name].form(data)[1]) > LARGE
    return RESIZED if is_large else 0


def _calibration_samples(dataset: DataSet) -> int:
    """The default where there are enough images for it, else a quarter of those that can go."""
    samples = sum(len(each) for each in (dataset.train, dataset.validation, dataset.calibration))
    room = samples - len(dataset.validation) - len(dataset.class_names)
    wanted = Data().calibration_samples
    return wanted if wanted <= room // 2 else max(1, room // 4)


def _of_model(settings: TrainStage, dataset: DataSet) -> dict[str, Any]:
    """How `settings`' model wants its pixels, and what it knows, judged on validation images."""
    model, signature, dataset = create(settings, dataset)
    source = settings.model.source
    own = tuple(scaling_layers(model, signature))
    found: dict[str, Any] = {"parameters": int(model.count_params()), "own_scaling": own}
    if source is not None:
        split = some_of(dataset.validation)
        are_pixels = signature.has_pixels
        if are_pixels:
            signature = best_settable(model, split, signature)
        outputs = evaluate.answers(model, split, signature)
        found |= _judged(outputs, split, signature)
        is_trained = is_above_luck(outputs, split, signature)
        # Also of one that seems to know nothing: that may be for want of ImageNet's means.
        refuse_other_scaling(model, split, signature, source)
        if are_pixels and not is_trained:
            scale, offset = (1.0, 0.0) if own else (Data().scale, Data().offset)
            signature = signature.scaled(scale, offset)
        found |= {"samples": len(split), "is_trained": is_trained}
    scale, offset = signature.scaling
    found |= {"task": signature.task, "scale": scale, "offset": offset}
    inputs = tuple(
        FoundInput(name=each.name, shape=each.input_shape, dtype=each.data_dtype)
        for each in signature.inputs
    )
    found |= {"metric": signature.deciding, "inputs": inputs, "outputs": tuple(_outputs(signature))}
    return {**found, "output": with_output(signature, model, dataset).output}


def _outputs(signature: Signature) -> Iterator[FoundOutput]:
    for each in signature.each if signature.heads else ():
        yield FoundOutput(
            name=each.output_name, task=each.task, classes=each.class_names, output=each.output
        )


def _judged(outputs: Outputs, split: Split, signature: Signature) -> dict[str, Any]:
    """How many answers are right, or how much of the metric that decides is reached."""
    answers = Answers.of(outputs, split.labels, signature)
    if signature.counts_images:
        return {"hits": int((answers.errors == 0).sum())}
    return {"score": answers.score}
