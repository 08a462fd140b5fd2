"""Small networks of every kind that the line must carry, for the tests."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers

SHAPE = (12, 12, 3)


def _norm(x: Any, **options: Any) -> Any:
    return layers.BatchNormalization(momentum=0.9, **options)(x)


def _conv(x: Any, filters: int, size: int = 3, **options: Any) -> Any:
    return layers.Conv2D(filters, size, padding="same", use_bias=False, **options)(x)


def plain() -> keras.Model:
    """Conv - BN - ReLU - max-pool - Flatten - Dense, as in the MNIST CNN."""
    image = keras.Input(SHAPE, name="image")
    x = layers.MaxPooling2D()(layers.ReLU()(_norm(_conv(image, 8))))
    x = layers.MaxPooling2D()(layers.ReLU()(_norm(_conv(x, 16))))
    x = layers.Dropout(0.5)(layers.Dense(16, activation="relu")(layers.Flatten()(x)))
    return keras.Model(image, layers.Dense(4)(x))


def residual() -> keras.Model:
    """An addition with an identity shortcut and one with a projection."""
    image = keras.Input(SHAPE, name="image")
    x = layers.ReLU()(_norm(_conv(image, 8)))
    for filters, strides in ((8, 1), (16, 2)):
        arm = layers.ReLU()(_norm(_conv(x, filters, strides=strides)))
        arm = _norm(_conv(arm, filters))
        shortcut = x if strides == 1 else _norm(_conv(x, filters, 1, strides=strides))
        x = layers.ReLU()(layers.Add()([arm, shortcut]))
    return keras.Model(image, layers.Dense(4)(layers.GlobalAveragePooling2D()(x)))


def separable() -> keras.Model:
    """Depthwise and pointwise convolutions with ReLU6, ending in a softmax."""
    image = keras.Input(SHAPE, name="image")
    x = layers.ReLU(6.0)(_norm(_conv(image, 8)))
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    x = layers.ReLU(6.0)(_norm(x, scale=False))
    x = layers.ReLU(6.0)(_norm(_conv(x, 16, 1)))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(4, activation="softmax")(x))


def concatenated() -> keras.Model:
    """Two arms of different kernels, concatenated, as in Inception and DenseNet."""
    image = keras.Input(SHAPE, name="image")
    x = layers.ReLU()(_norm(_conv(image, 8)))
    wide = layers.ReLU()(_norm(_conv(x, 8, 5), center=False))
    x = layers.AveragePooling2D(2)(layers.Concatenate()([x, wide]))
    return keras.Model(image, layers.Dense(4)(layers.Flatten()(x)))


def nested() -> keras.Model:
    """A Sequential and a functional model inside a model, with equal layer names."""
    inner = keras.Sequential(
        [keras.Input((12, 12, 8)), layers.Conv2D(8, 3, name="conv"), layers.ReLU()], name="inner"
    )
    image = keras.Input(SHAPE, name="image")
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="conv")(image)
    x = layers.Flatten()(inner(x))
    return keras.Model(image, layers.Dense(4)(x))


def shared() -> keras.Model:
    """One convolution that is called twice."""
    image = keras.Input(SHAPE, name="image")
    twice = layers.Conv2D(8, 3, padding="same", activation="relu", name="twice")
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    x = layers.GlobalMaxPooling2D()(twice(twice(x)))
    return keras.Model(image, layers.Dense(4)(x))


NETWORKS = {
    build.__name__: build for build in (plain, residual, separable, concatenated, nested, shared)
}


def randomized(model: keras.Model, seed: int = 0) -> keras.Model:
    """`model` with random weights, biases and batch statistics, none of them zero."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            randomized(layer, seed + 1)
        elif isinstance(layer, layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
        elif layer.weights:
            kernel, *bias = layer.get_weights()
            spread = np.sqrt(2.0 / np.prod(kernel.shape[:-1]))
            new = [rng.normal(0, spread, kernel.shape)]
            layer.set_weights(new + [rng.normal(0, 0.1, b.shape) for b in bias])
    return model


def images(count: int, seed: int = 0, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Preprocessed random pixels: float32 (count, H, W, C) in 0..1."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, *shape)).astype(np.float32) / np.float32(255)
