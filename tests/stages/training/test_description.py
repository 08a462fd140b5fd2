from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from stages.artifacts.signature import Signature
from stages.datasets.base import DataSet, Split
from stages.errors import ModelError
from stages.tasks.registry import TaskName
from stages.training.description import output_shapes, with_output

SHAPE = (4, 4, 1)


def dataset(task: TaskName) -> DataSet:
    random = np.random.default_rng(0)
    few = Split(random.integers(0, 255, (8, *SHAPE), np.uint8), np.zeros(8, np.int64))
    return DataSet("few", few, few, few, few, ("no", "yes"), task)


def signature(task: TaskName, names: int = 2) -> Signature:
    return Signature(SHAPE, tuple(map(str, range(names))), 1 / 255, 0.0, task=task)


def found(task: TaskName, head: layers.Layer, names: int = 2) -> Signature:
    image = keras.Input(SHAPE)
    flat = layers.Flatten()(image)
    return with_output(signature(task, names), keras.Model(image, head(flat)), dataset(task))


def test_one_value_for_two_classes_is_a_yes_or_no() -> None:
    assert output_shapes(signature("classification"), None) == ((2,), (1,))
    assert output_shapes(signature("classification"), "classification") == ((2,),)
    assert output_shapes(signature("classification", 3), None) == ((3,),)
    told = found("classification", layers.Dense(1))
    assert (told.task, told.output, told.output_shape) == ("binary", "logits", (1,))
    told = found("classification", layers.Dense(1, activation="sigmoid"))
    assert (told.task, told.output) == ("binary", "probabilities")


def test_two_values_are_classes_and_the_signature_is_what_it_always_was() -> None:
    told = found("classification", layers.Dense(2))
    assert (told.task, told.output, told.output_shape) == ("classification", "logits", ())


def test_a_sigmoid_with_two_columns_is_no_classifier() -> None:
    with pytest.raises(ModelError, match="ends in a sigmoid with 2 columns, expected a softmax"):
        found("classification", layers.Dense(2, activation="sigmoid"))
    told = found("multilabel", layers.Dense(2, activation="sigmoid"))
    assert told.output == "probabilities"


def test_a_softmax_is_nothing_for_labels_that_are_judged_one_by_one() -> None:
    with pytest.raises(ModelError, match="a softmax with 2 columns, expected a sigmoid or logits"):
        found("multilabel", layers.Dense(2, activation="softmax"))


def test_numbers_are_values_and_masks_have_the_size_of_the_image() -> None:
    assert found("regression", layers.Dense(2)).output == "values"
    pixels = keras.Sequential([layers.Reshape(SHAPE), layers.Conv2D(3, 1, activation="softmax")])
    told = found("segmentation", pixels, names=3)
    assert (told.output, told.output_shape) == ("probabilities", (4, 4, 3))
    assert output_shapes(signature("segmentation"), None) == ((4, 4, 2), (4, 4, 1))
