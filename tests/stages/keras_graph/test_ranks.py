"""Layers of signals and volumes through every pass over a graph."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from stages.artifacts.signature import Signature
from stages.keras_graph.fold import fold
from stages.keras_graph.kernels import WEIGHTED
from stages.keras_graph.placement import fed_layers, points
from tests.stages.keras_graph.test_shrink import relative_difference
from tests.stages.networks import randomized


def signals() -> keras.Model:
    """Every layer of signals with a rule, normalisation behind kernels and behind a ReLU."""
    signal = keras.Input((32, 3))
    x = layers.Conv1D(8, 3, padding="causal", use_bias=False)(signal)
    x = layers.BatchNormalization()(layers.ReLU()(x))
    x = layers.Conv1D(8, 3, padding="same")(x)
    x = start = layers.SpatialDropout1D(0.1)(layers.MaxPooling1D(2)(x))
    x = layers.BatchNormalization()(layers.DepthwiseConv1D(3, padding="same")(x))
    x = layers.Add()([layers.SeparableConv1D(8, 3, padding="same")(x), start])
    x = layers.UpSampling1D(2)(layers.AveragePooling1D(2)(layers.ReLU()(x)))
    x = layers.BatchNormalization()(layers.Conv1DTranspose(8, 4, strides=2, padding="same")(x))
    x = layers.Cropping1D(1)(layers.ZeroPadding1D(2)(x))
    x = layers.Add()([layers.GlobalMaxPooling1D()(x), layers.GlobalAveragePooling1D()(x)])
    return keras.Model(signal, layers.Dense(4)(x))


def volumes() -> keras.Model:
    """Every layer of volumes with a rule."""
    volume = keras.Input((4, 8, 8, 2))
    x = layers.Conv3D(8, 3, padding="same", use_bias=False)(volume)
    x = layers.BatchNormalization()(layers.ReLU()(x))
    x = layers.Conv3D(8, 3, padding="same")(x)
    x = start = layers.SpatialDropout3D(0.1)(layers.MaxPooling3D(2)(x))
    x = layers.Add()([layers.Conv3D(8, 1)(x), start])
    x = layers.UpSampling3D(2)(layers.AveragePooling3D(2)(layers.ReLU()(x)))
    x = layers.BatchNormalization()(layers.Conv3DTranspose(8, 2, strides=2)(x))
    x = layers.Cropping3D(1)(layers.ZeroPadding3D(2)(x))
    x = layers.Add()([layers.GlobalMaxPooling3D()(x), layers.GlobalAveragePooling3D()(x)])
    return keras.Model(volume, layers.Dense(4)(x))


NETS = (signals, volumes)


@pytest.mark.parametrize("net", NETS)
def test_folding_changes_no_output_and_leaves_only_linear_kernels(net) -> None:
    model = randomized(net())
    batch = np.random.default_rng(0).normal(size=(4, *model.input_shape[1:])).astype(np.float32)
    expected = model(batch, training=False).numpy()
    folded = fold(model)
    assert np.allclose(folded(batch), expected, atol=1e-5 * np.abs(expected).max())
    kernels = [layer for layer in folded.layers if isinstance(layer, WEIGHTED)]
    assert {layer.activation for layer in kernels} == {keras.activations.linear}
    norms = [each for each in folded.layers if isinstance(each, layers.BatchNormalization)]
    assert len(norms) == 1  # behind a ReLU and before padding: there is no place for it


@pytest.mark.parametrize("net", NETS)
def test_a_pruned_network_equals_the_whole_one_without_what_was_removed(net) -> None:
    assert relative_difference(net()) < 1e-5


@pytest.mark.parametrize("net", NETS)
def test_every_kernel_reads_a_quantized_tensor(net) -> None:
    folded = fold(net())
    signature = Signature(folded.input_shape[1:], tuple("abcd"), 1.0, 0.0, data_dtype="float32")
    placed = points(folded, signature)
    fed = {name for names in fed_layers(folded, placed).values() for name in names}
    assert fed == {layer.name for layer in folded.layers if isinstance(layer, WEIGHTED)}
    assert {point.limits for point in placed.values()} == {None}
