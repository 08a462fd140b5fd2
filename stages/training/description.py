"""A data set in numbers, and the signature of a model that is trained on it, or was."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import keras
import numpy as np

from stages.artifacts.signature import LAYOUTS, DataType, Fed, Head, Input, Signature, some
from stages.datasets.base import DataSet
from stages.datasets.inputs import Form, forms
from stages.datasets.several import Wanted
from stages.errors import ModelError, SettingsError
from stages.keras_graph.outputs import Maker, made_by, names_of
from stages.keras_graph.walk import functional
from stages.results.training import DatasetCounts
from stages.settings import Data
from stages.tasks import base as tasks
from stages.tasks.base import Shape
from stages.tasks.registry import Output, TaskName

FEW = 16
"""Images to see what a model returns."""


def describe(dataset: DataSet, data: Data) -> Signature:
    """The signature of a model for `dataset`, as far as it does not depend on the model."""
    found = forms(dataset.train.images)
    alone = None if dataset.train.images.dtype.names else found[""]
    return Signature(
        input_shape=alone.shape if alone else (),
        class_names=tuple(dataset.class_names),
        scale=data.scale if alone else 1.0,
        offset=data.offset if alone else 0.0,
        layout=LAYOUTS[len(alone.shape)] if alone else "",
        task=dataset.task,
        data_dtype=_data_type(alone) if alone else "float32",
        inputs=() if alone else tuple(_input(*each, data) for each in found.items()),
        heads=tuple(
            Head(each.name, each.task, "logits", each.class_names, ()) for each in dataset.outputs
        ),
    )


def _input(name: str, form: Form, data: Data) -> Input:
    """Pixels are scaled as `data` says, and other values taken as they are."""
    dtype = _data_type(form)
    scale, offset = (data.scale, data.offset) if dtype == "uint8" else (1.0, 0.0)
    return Input(name, form.shape, scale, offset, LAYOUTS[len(form.shape)], "float32", dtype)


def _data_type(form: Form) -> DataType:
    return "uint8" if form.dtype == np.uint8 else "float32"


def with_order(signature: Signature, model: keras.Model) -> Signature:
    """`signature` with several inputs in the order of those of `model`, which have their names."""
    order = [each.name for each in functional(model).inputs]
    inputs = sorted(signature.inputs, key=lambda each: order.index(each.name))
    return dataclasses.replace(signature, inputs=tuple(inputs))


def output_shapes(
    signature: Signature, wanted: Wanted
) -> tuple[Shape, ...] | dict[str, tuple[Shape, ...]]:
    """What a network for `signature` may return for one image; ours return the first.

    Of two classes also one value, unless they are `wanted` as two: that is a yes or no. Of several
    outputs these shapes by name.
    """
    if not signature.heads:
        return _output_shapes(signature, wanted is not None)
    asked = wanted if isinstance(wanted, Mapping) else {}
    return {
        each.output_name: _output_shapes(each, each.output_name in asked) for each in signature.each
    }


def _output_shapes(signature: Signature, is_wanted: bool) -> tuple[Shape, ...]:
    count = len(signature.class_names)
    task, given = tasks.of(signature.task), [each.input_shape for each in signature.each_input]
    if signature.inputs and signature.task == "segmentation":
        given = [shape for shape in given if len(shape) == 3]  # what masks can be of
    shapes = tuple(
        dict.fromkeys(each for shape in given for each in task.output_shapes(count, shape))
    )
    may_be_binary = signature.task == "classification" and count == 2 and not is_wanted
    return (*shapes, *(tasks.of("binary").output_shapes(2, ()) if may_be_binary else ()))


def with_output(signature: Signature, model: keras.Model, dataset: DataSet) -> Signature:
    """`signature` with the task, where it is the model that tells it, and what `model` returns.

    See keras_graph/outputs.py. Raises ModelError where this is not what the task asks.
    """
    few = dataset.validation.take(np.arange(min(FEW, len(dataset.validation))))
    images = signature.preprocess(few.images[:])
    if not signature.heads:
        return _with_output(signature, model, images, 0)
    known = {head.name: own for head, own in zip(signature.heads, signature.each, strict=True)}
    raw = dataclasses.replace(signature, heads=(), task="raw", class_names=())
    names = names_of(model)
    found = [
        _with_output(known.get(name, raw), model, images, index) for index, name in enumerate(names)
    ]
    heads = (
        Head(name, each.task, each.output, each.class_names, each.output_shape)
        for name, each in zip(names, found, strict=True)
    )
    return dataclasses.replace(signature, output="values", output_name="", heads=tuple(heads))


def _with_output(signature: Signature, model: keras.Model, images: Fed, index: int) -> Signature:
    """As `with_output`, of the output with this number."""
    output_of_one = keras.tree.flatten(model(some(images, slice(1)), training=False))[index]
    shape = np.asarray(output_of_one).shape[1:]
    is_single = signature.task == "classification" and shape == (1,)
    task: TaskName = "binary" if is_single else signature.task
    if task in ("regression", "raw"):
        output: Output = "values"
    else:
        has_sigmoids = task in ("binary", "multilabel") or shape[-1] == 1
        makers: tuple[Maker, Maker] = ("softmax", "sigmoid")
        wanted, other = reversed(makers) if has_sigmoids else makers
        output = "probabilities" if made_by(model, images, wanted, index) else "logits"
        if output == "logits" and made_by(model, images, other, index):
            raise ModelError(
                f"{model.name!r} ends in a {other} with {shape[-1]} columns, expected a {wanted} "
                f"or logits for {task}",
                "several labels at once: --set model.task=multilabel, with a sigmoid; yes or no: "
                "one column with a sigmoid; one of several classes: a softmax",
            )
    return dataclasses.replace(
        signature,
        task=task,
        output=output,
        output_name=output,
        output_shape=shape if task == "raw" else _stored(shape),
    )


def refuse_unjudged(signature: Signature) -> None:
    """Raises SettingsError for outputs without a task where no metric of the user's judges them."""
    raw = [each.output_name for each in signature.each if each.task == "raw"]
    if raw and not signature.metric:
        raise SettingsError(
            f"the output {raw[0]!r} is raw, and so judged by nothing",
            "give a metric of your own: --set quality.metric=module:function; or its task, in "
            "model.tasks",
        )


def refuse_other_masks(signature: Signature, dataset: DataSet) -> None:
    """Raises ModelError for masks of the size of another input than those to learn."""
    labels = dataset.train.labels
    for own in (each for each in signature.each if each.task == "segmentation"):
        # Raw outputs beside it have no labels of their names.
        masks = labels[own.output_name] if signature.heads else labels
        if own.output_shape[:-1] != masks.shape[1:]:
            raise ModelError(
                f"the output {own.output_name!r} answers for {own.output_shape[:-1]} pixels, the "
                f"masks of the data set are {masks.shape[1:]} (height, width), expected the same",
                "give masks of the size that the network returns",
            )


def _stored(shape: tuple[int, ...]) -> tuple[int, ...]:
    """() for one value per class, as signatures had it before there were other tasks."""
    return () if len(shape) == 1 and shape != (1,) else shape


def counts(dataset: DataSet) -> DatasetCounts:
    """Images by split."""
    return DatasetCounts(
        name=dataset.name,
        train_samples=len(dataset.train.labels),
        validation_samples=len(dataset.validation.labels),
        calibration_samples=len(dataset.calibration.labels),
        test_samples=len(dataset.test.labels),
        skipped_images=len(dataset.skipped),
        rotated_images=dataset.changed.get("rotated", 0),
        composited_images=dataset.changed.get("composited", 0),
    )
