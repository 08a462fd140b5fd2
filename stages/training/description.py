"""A data set in numbers, and the signature of a model that is trained on it, or was."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import keras
import numpy as np
from numpy.typing import NDArray

from stages.artifacts.signature import LAYOUTS, Head, Signature
from stages.datasets.base import DataSet
from stages.datasets.several import Wanted
from stages.errors import ModelError, SettingsError
from stages.keras_graph.outputs import Maker, made_by, names_of
from stages.results.base import Output
from stages.results.training import DatasetCounts
from stages.settings import Data
from stages.tasks import base as tasks
from stages.tasks.base import Shape
from stages.tasks.registry import TaskName

FEW = 16
"""Images to see what a model returns."""


def describe(dataset: DataSet, data: Data) -> Signature:
    """The signature of a model for `dataset`, as far as it does not depend on the model."""
    images = dataset.train.images
    return Signature(
        input_shape=tuple(images.shape[1:]),
        class_names=tuple(dataset.class_names),
        scale=data.scale,
        offset=data.offset,
        layout=LAYOUTS[len(images.shape) - 1],
        task=dataset.task,
        data_dtype="uint8" if images.dtype == np.uint8 else "float32",
        heads=tuple(
            Head(each.name, each.task, "logits", each.class_names, ()) for each in dataset.outputs
        ),
    )


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
    shapes = tasks.of(signature.task).output_shapes(count, signature.input_shape)
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


def _with_output(
    signature: Signature, model: keras.Model, images: NDArray[np.float32], index: int
) -> Signature:
    """As `with_output`, of the output with this number."""
    output_of_one = keras.tree.flatten(model(images[:1], training=False))[index]
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
