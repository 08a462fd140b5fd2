from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from stages.pruning.criteria import layer_scores
from stages.training.losses import Question, Questions
from tests.stages.networks import NETWORKS, images, randomized


def asked(from_logits: bool) -> Questions:
    return (Question("classification", 4, from_logits),)


def batch(model: keras.Model, count: int = 8) -> tuple[np.ndarray, np.ndarray]:
    labels = np.eye(4, dtype=np.float32)[np.arange(count) % 4]
    return images(count), labels


@pytest.mark.parametrize("criterion", ["l1", "l2", "bn_scale", "taylor"])
@pytest.mark.parametrize("name", ["plain", "residual", "separable", "shared"])
def test_every_layer_that_makes_channels_gets_a_score_for_each(criterion, name):
    model = randomized(NETWORKS[name]())
    found = layer_scores(model, criterion, [batch(model)], questions=asked(name != "separable"))
    makes = (layers.Conv2D, layers.Dense)
    kinds = {layer.name: layer for layer in model.layers if isinstance(layer, makes)}
    kinds = {n: one for n, one in kinds.items() if not isinstance(one, layers.DepthwiseConv2D)}
    assert {name: len(scores) for name, scores in found.items()} == {
        name: layer.output.shape[-1] if name != "twice" else 8 for name, layer in kinds.items()
    }
    assert all((scores >= 0).all() for scores in found.values())


def test_a_separable_convolution_is_scored_by_its_pointwise_kernel():
    image = keras.Input((8, 8, 3))
    x = layers.SeparableConv2D(6, 3, depth_multiplier=2, name="separable")(image)
    model = keras.Model(image, layers.Dense(4)(layers.Flatten()(x)))
    pointwise = model.get_layer("separable").pointwise_kernel
    pointwise.assign(np.arange(6, dtype=np.float32) * np.ones((1, 1, 6, 6), np.float32))
    scores = layer_scores(model, "l2", ())["separable"]
    np.testing.assert_allclose(scores, np.arange(6) / 2.5)


@pytest.mark.parametrize("criterion", ["l2", "taylor"])
def test_attention_is_scored_by_the_projection_of_its_output(criterion):
    image = keras.Input((4, 6))
    x = layers.MultiHeadAttention(2, 3, name="attention")(image, image)
    model = keras.Model(image, layers.Dense(4)(layers.GlobalMaxPooling1D()(x)))
    kernel = model.get_layer("attention").output_dense.kernel
    kernel.assign(kernel * (np.arange(6) != 2))
    inputs = np.random.default_rng(0).normal(size=(8, 4, 6)).astype(np.float32)
    scores = layer_scores(model, criterion, [(inputs, np.eye(4)[np.arange(8) % 4])])["attention"]
    assert np.flatnonzero(scores == 0).tolist() == [2]
    assert len(scores) == 6


def test_the_scale_of_batch_normalisation_is_taken_where_there_is_one():
    model = randomized(NETWORKS["plain"]())
    found = layer_scores(model, "bn_scale", ())
    norms = layer_scores(model, "l2", ())
    norm = next(one for one in model.layers if isinstance(one, layers.BatchNormalization))
    gamma = np.abs(norm.gamma.numpy())
    first = next(iter(found))
    np.testing.assert_allclose(found[first], gamma / gamma.mean(), rtol=1e-6)
    last = list(found)[-1]
    np.testing.assert_array_equal(found[last], norms[last])


def test_taylor_finds_the_channel_that_nothing_looks_at():
    model = randomized(NETWORKS["plain"]())
    dense = [layer for layer in model.layers if isinstance(layer, layers.Dense)][-1]
    kernel = dense.kernel.numpy()
    kernel[5] = 0
    dense.kernel.assign(kernel)
    scores = list(layer_scores(model, "taylor", [batch(model), batch(model, 16)]).values())[-2]
    assert scores[5] == 0
    assert (np.delete(scores, 5) > 0).any()


@pytest.mark.parametrize("from_logits", [True, False])
def test_taylor_predicts_what_the_loss_changes_without_a_channel(from_logits):
    model = randomized(NETWORKS["plain"]())
    if not from_logits:
        model = keras.Model(model.inputs[0], keras.ops.softmax(model.outputs[0]))
    pixels, labels = batch(model, 32)
    name, layer = next((one.name, one) for one in model.layers if isinstance(one, layers.Conv2D))
    scores = layer_scores(model, "taylor", [(pixels, labels)], questions=asked(from_logits))[name]
    loss = keras.losses.CategoricalCrossentropy(from_logits=from_logits)
    kernel = layer.kernel.numpy()

    def with_channel_times(channel: int, factor: float) -> float:
        changed = kernel.copy()
        changed[..., channel] *= factor
        layer.kernel.assign(changed)
        return float(loss(labels, model(pixels)))

    step = 1e-2
    changes = [
        (with_channel_times(channel, 1 + step) - with_channel_times(channel, 1 - step)) / (2 * step)
        for channel in range(kernel.shape[-1])
    ]
    # Not exactly: a step of one in a hundred moves some activations across ReLU's corner.
    assert np.corrcoef(np.sqrt(scores), np.abs(changes))[0, 1] > 0.99
