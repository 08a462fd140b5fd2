from __future__ import annotations

import keras
from keras import layers

from stages.keras_graph.cost import moved_activations, multiply_adds
from stages.models.mnist_cnn import build
from tests.stages.networks import NETWORKS


def test_the_mnist_cnn_costs_what_its_shapes_say():
    by_hand = 26 * 26 * 9 * 32 + 11 * 11 * 9 * 32 * 64 + 1600 * 64 + 64 * 10
    assert multiply_adds(build((28, 28, 1), 10)) == by_hand


def test_depthwise_strided_and_transposed_convolutions_are_counted_per_position():
    image = keras.Input((8, 8, 4))
    x = layers.DepthwiseConv2D(3, padding="same")(image)
    x = layers.Conv2D(6, 3, strides=2, padding="same")(x)
    x = layers.Conv2DTranspose(2, 2, strides=2)(x)
    by_hand = 64 * 9 * 4 + 16 * 9 * 4 * 6 + 16 * 4 * 6 * 2
    assert multiply_adds(keras.Model(image, x)) == by_hand


def test_convolutions_of_signals_and_volumes_are_counted_per_position():
    signal, volume = keras.Input((8, 4)), keras.Input((4, 4, 4, 2))
    x = layers.DepthwiseConv1D(3, padding="same")(signal)
    x = layers.Conv1DTranspose(2, 4, strides=2)(x)
    assert multiply_adds(keras.Model(signal, x)) == 8 * 3 * 4 + 8 * 4 * 4 * 2
    x = layers.Conv3D(3, 3, padding="same")(volume)
    x = layers.Conv3DTranspose(2, 2, strides=2)(x)
    assert multiply_adds(keras.Model(volume, x)) == 64 * 27 * 2 * 3 + 64 * 8 * 3 * 2


def test_nested_and_shared_layers_count_for_every_call():
    one = 144 * 9 * 3 * 8
    assert multiply_adds(NETWORKS["shared"]()) == one + 2 * 144 * 9 * 64 + 8 * 4
    assert multiply_adds(NETWORKS["nested"]()) == one + 100 * 9 * 64 + 800 * 4


def test_convolutions_and_dense_layers_read_and_write_once_and_nothing_else_moves():
    image = keras.Input((8, 8, 4))
    x = layers.Conv2D(6, 3, strides=2, padding="same")(image)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.Dense(3)(layers.GlobalAveragePooling2D()(x))
    assert moved_activations(keras.Model(image, x)) == (8 * 8 * 4 + 4 * 4 * 6) + (6 + 3)


def test_the_activations_of_nested_models_and_of_every_call_count():
    side, one = 12 * 12, 12 * 12 * (3 + 8)
    assert moved_activations(NETWORKS["shared"]()) == one + 2 * side * (8 + 8) + (8 + 4)
    assert moved_activations(NETWORKS["nested"]()) == one + (side + 10 * 10) * 8 + (800 + 4)
