"""A data set in numbers, and the signature of a model that is trained on it, or was."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np

from stages.artifacts.signature import Signature
from stages.datasets.base import DataSet
from stages.keras_graph.outputs import returns_probabilities
from stages.results.base import Output
from stages.results.training import DatasetCounts
from stages.settings import Data

FEW = 16
"""Images to see what a model returns."""


def describe(dataset: DataSet, data: Data) -> Signature:
    """The signature of a model for `dataset`, as far as it does not depend on the model."""
    height, width, channels = dataset.train.images.shape[1:]
    return Signature(
        input_shape=(height, width, channels),
        class_names=tuple(dataset.class_names),
        scale=data.scale,
        offset=data.offset,
    )


def with_output(signature: Signature, model: keras.Model, dataset: DataSet) -> Signature:
    """`signature` with what `model` returns; see keras_graph/outputs.py."""
    few = dataset.validation.take(np.arange(min(FEW, len(dataset.validation))))
    is_softmaxed = returns_probabilities(model, signature.preprocess(few.images[:]))
    output: Output = "probabilities" if is_softmaxed else "logits"
    return dataclasses.replace(signature, output=output, output_name=output)


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
