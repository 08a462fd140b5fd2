"""Every pass keeps several outputs: all of them, in order, and what they return."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from stages.keras_graph.blocks import find_blocks, remove
from stages.keras_graph.channels import groups
from stages.keras_graph.fake_quant import execute
from stages.keras_graph.fold import flatten, fold
from stages.keras_graph.placement import only, points
from stages.keras_graph.plain import plain
from stages.keras_graph.shrink import shrink
from stages.numerics import fields
from stages.training import evaluate
from tests.stages.heads import SIGNATURE, detector
from tests.stages.networks import SHAPE, images, randomized

FEW = images(4)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return randomized(detector())


def assert_same(one: keras.Model, other: keras.Model) -> None:
    expected, got = (evaluate.logits(each, FEW, SIGNATURE) for each in (one, other))
    for name in fields.names(expected):
        np.testing.assert_allclose(got[name], expected[name], rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("convert", [flatten, fold])
def test_a_copy_returns_the_same_outputs_in_their_order(model, convert):
    assert_same(model, convert(model))


def test_a_copy_with_other_names_returns_the_same_outputs_in_their_order():
    image = keras.Input(SHAPE, name="image")
    outputs = keras.Model(image, detector()(image)).outputs
    named = keras.Model(image, outputs[::-1], name="größe")
    renamed = plain(named)
    assert renamed is not named
    assert [each.shape for each in renamed.outputs] == [each.shape for each in outputs[::-1]]
    expected, got = ([np.asarray(y) for y in each(FEW)] for each in (named, renamed))
    for one, other in zip(expected, got, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_executing_a_graph_gives_the_list_of_outputs(model):
    folded = fold(model)
    found = execute(folded, {}, FEW, lambda point, value: value)
    assert [tuple(each.shape) for each in found] == [
        (4, *each.shape_of_output) for each in SIGNATURE.each
    ]


def test_no_channel_of_any_output_goes(model):
    flat = flatten(model)
    found = groups(flat)
    assert [group.layers for group in found] == [("stem",), ("wide",)]
    kept = [np.arange(0, len(group.channels), 2) for group in found]
    gone = {
        place
        for group, keep in zip(found, kept, strict=True)
        for channel in set(range(len(group.channels))) - set(keep.tolist())
        for place in group.channels[channel]
    }
    small = shrink(flat, kept)
    assert [each.shape for each in small.outputs] == [each.shape for each in flat.outputs]
    for name, channel in gone:
        layer = flat.get_layer(name)
        weights = [each.copy() for each in layer.get_weights()]
        for each in weights:
            axis = 2 if isinstance(layer, layers.Conv2DTranspose) and each.ndim > 1 else -1
            np.moveaxis(each, axis, 0)[channel] = 0
        layer.set_weights(weights)
    norm = flat.get_layer("norm")
    gamma, beta, *rest = norm.get_weights()
    for name, channel in gone:
        if name == "stem":
            gamma[channel] = beta[channel] = 0
    norm.set_weights([gamma, beta, *rest])
    assert_same(flat, small)


def test_a_convolution_that_is_an_output_is_quantized_before_its_relu(model):
    """Of a sole reader it would be behind: here the sum itself must come out of the kernel."""
    found = points(fold(model), SIGNATURE)
    assert {"conv", "seen"} <= only(found, "cpu").keys()
    assert "conv" not in only(found, "tensorrt")


def test_a_block_that_ends_in_an_output_goes_and_the_output_stays():
    image = keras.Input(SHAPE, name="image")
    x = layers.Conv2D(4, 3, padding="same")(image)
    y = layers.Add()([x, layers.Conv2D(4, 3, padding="same", name="inner")(x)])
    model = randomized(keras.Model(image, [y, layers.GlobalAveragePooling2D()(y), x]))
    (block,) = find_blocks(model)
    assert block.layers == ("inner",)
    left = remove(model, [block.layers])
    first, mean, last = (np.asarray(each) for each in left(FEW))
    expected = np.asarray(model(FEW)[2])
    np.testing.assert_allclose(first, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(last, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(mean, expected.mean(axis=(1, 2)), rtol=1e-4, atol=1e-5)
