"""Operations of keras.ops are the layers that compute the same, to everything behind `flatten`."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops

from stages.artifacts.signature import Signature
from stages.keras_graph.channels import groups
from stages.keras_graph.fold import flatten, fold
from stages.keras_graph.placement import points, tied
from stages.keras_graph.walk import calls
from tests.stages.networks import SHAPE, images, randomized

SIGNATURE = Signature(SHAPE, ("a", "b", "c", "d"), scale=1 / 255, offset=0.0)

PAIRS = {
    "add": (lambda x, y: x + y, lambda x, y: layers.Add()([x, y])),
    "subtract": (lambda x, y: x - y, lambda x, y: layers.Subtract()([x, y])),
    "multiply": (lambda x, y: x * y, lambda x, y: layers.Multiply()([x, y])),
    "maximum": (ops.maximum, lambda x, y: layers.Maximum()([x, y])),
    "minimum": (ops.minimum, lambda x, y: layers.Minimum()([x, y])),
    "concatenate": (
        lambda x, y: ops.concatenate([x, y], -1),
        lambda x, y: layers.Concatenate()([x, y]),
    ),
    "max_pool": (
        lambda x, y: ops.max_pool(x, 2, padding="same"),
        lambda x, y: layers.MaxPooling2D(2, padding="same")(x),
    ),
    "average_pool": (
        lambda x, y: ops.average_pool(x, (3, 2), 1),
        lambda x, y: layers.AveragePooling2D((3, 2), 1)(x),
    ),
    "mean": (
        lambda x, y: ops.mean(x, axis=(-3, 2)),
        lambda x, y: layers.GlobalAveragePooling2D()(x),
    ),
    "max": (
        lambda x, y: ops.max(x, axis=[1, 2], keepdims=True),
        lambda x, y: layers.GlobalMaxPooling2D(keepdims=True)(x),
    ),
    "reshape": (
        lambda x, y: ops.max(ops.reshape(x, (-1, 144, 8)), axis=1),
        lambda x, y: layers.GlobalMaxPooling1D()(layers.Reshape((144, 8))(x)),
    ),
}


def network(middle) -> keras.Model:
    image = keras.Input(SHAPE, name="image")
    x, y = (layers.Conv2D(8, 3, padding="same", name=name)(image) for name in ("left", "right"))
    x = layers.Dense(6, name="behind")(middle(ops.relu(x), layers.ReLU()(y)))
    return randomized(keras.Model(image, layers.Dense(4, name="logits")(layers.Flatten()(x))))


def operations(model: keras.Model) -> list[str]:
    found = (call.operation for call in calls(model))
    return [type(each).__name__ for each in found if not isinstance(each, layers.Layer)]


def placed(model: keras.Model) -> tuple[list[str], list[int]]:
    """Kinds of what makes the quantized tensors, and how many share a scale."""
    folded = fold(model)
    found = points(folded, SIGNATURE)
    made = [point.tensor._keras_history.operation for point in found.values()]
    kinds = [type(each).__name__.lower() for each in made]
    return kinds, [len(group) for group in tied(folded, found)]


@pytest.mark.parametrize("name", PAIRS)
def test_an_operator_is_pruned_and_quantized_like_the_layer(name):
    by_operator, by_layer = map(network, PAIRS[name])
    flat = flatten(by_operator)
    assert operations(flat) == ["Relu"]
    np.testing.assert_array_equal(flat(images(4)), by_operator(images(4)))
    assert placed(by_operator) == placed(by_layer)
    sizes = [(each.layers, len(each.channels)) for each in groups(flat)]
    assert sizes == [(each.layers, len(each.channels)) for each in groups(flatten(by_layer))]


def masked(x, y):
    return layers.Masking()(ops.reshape(x, (-1, 144, 8))) + ops.reshape(y, (-1, 144, 8))


@pytest.mark.parametrize(
    ("middle", "kept"),
    [
        (lambda x, y: 2 * x + np.ones(8, np.float32), ["Multiply", "Add"]),
        (lambda x, y: x * ops.mean(y, axis=-1, keepdims=True), ["Mean"]),
        (
            lambda x, y: x * ops.sigmoid(ops.mean(y, axis=(0, 1, 2))),
            ["Mean", "Sigmoid", "Multiply"],
        ),
        (lambda x, y: ops.max(x, axis=(1, 2), initial=3.0, keepdims=True), ["Max"]),
        (lambda x, y: ops.reshape(ops.reshape(x, (-1, 4)), (-1, 12, 12, 8)), ["Reshape"] * 2),
        (masked, ["Add"]),
    ],
)
def test_an_operation_that_no_layer_computes_stays(middle, kept):
    model = network(middle)
    flat = flatten(model)
    assert [each for each in operations(flat) if each != "Relu"] == kept
    np.testing.assert_array_equal(flat(images(4)), model(images(4)))


def test_layers_made_of_operators_have_names_of_their_own():
    image = keras.Input(SHAPE, name="image")
    x = layers.Conv2D(4, 3, padding="same", name="add")(image)
    model = keras.Model(image, layers.Dense(4)(layers.Flatten()(x + x)))
    names = [call.operation.name for call in calls(flatten(model))]
    assert len(set(names)) == len(names) == 4
