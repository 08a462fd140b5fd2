"""Small networks of every kind that the line must carry, for the tests."""

from __future__ import annotations

import importlib
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


def unpadded() -> keras.Model:
    """Two narrow convolutions without padding, as in many a first network."""
    image = keras.Input(SHAPE, name="image")
    x = layers.ReLU()(_norm(layers.Conv2D(8, 3, use_bias=False)(image)))
    x = layers.Conv2D(6, (1, 5), activation="relu")(x)
    return keras.Model(image, layers.Dense(4)(layers.Flatten()(layers.MaxPooling2D()(x))))


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


def xception() -> keras.Model:
    """Separable and grouped convolutions, with normalisation and fused activations."""
    image = keras.Input(SHAPE, name="image")
    x = layers.SeparableConv2D(8, 3, padding="same", depth_multiplier=2, use_bias=False)(image)
    x = layers.ReLU()(_norm(x))
    x = layers.Conv2D(16, 3, padding="same", groups=8, activation="relu", name="by_channel")(x)
    x = layers.ReLU()(_norm(_conv(x, 8, groups=2)))
    x = layers.SeparableConv2D(8, 3, strides=2, activation="relu")(x)
    return keras.Model(image, layers.Dense(4)(layers.GlobalAveragePooling2D()(x)))


def convnext() -> keras.Model:
    """A ConvNeXt block: depthwise by groups, LayerNormalization, Dense over channels, GELU."""
    # Keras does not export these two.
    parts = importlib.import_module("keras.src.applications.convnext")
    image = keras.Input(SHAPE, name="image")
    x = layers.Conv2D(8, 2, strides=2)(layers.Rescaling(2.0, -1.0)(image))
    arm = layers.Conv2D(8, 7, padding="same", groups=8, name="by_channel")(x)
    arm = layers.LayerNormalization(epsilon=1e-6)(arm)
    arm = layers.Dense(16)(arm)
    arm = layers.Dense(8)(layers.Activation("gelu")(arm))
    arm = parts.StochasticDepth(0.1)(parts.LayerScale(1e-6, 8)(arm))
    x = keras.ops.gelu(x + arm, approximate=False)
    return keras.Model(image, layers.Dense(4)(layers.GlobalAveragePooling2D()(x)))


def squeezed() -> keras.Model:
    """A squeeze-and-excite gate and the two swishes, as in MobileNetV3 and EfficientNet."""
    image = keras.Input(SHAPE, name="image")
    normalization = layers.Normalization(mean=[0.4, 0.5, 0.6], variance=[0.1, 0.2, 0.3])
    x = layers.Activation("swish")(_norm(_conv(normalization(image), 8)))
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(4, 1, activation="relu")(gate)
    x = layers.Multiply()([x, layers.Conv2D(8, 1, activation="hard_sigmoid")(gate)])
    x = layers.Activation("hard_swish")(_norm(_conv(x, 8)))
    return keras.Model(image, layers.Dense(4)(layers.GlobalAveragePooling2D()(x)))


def branched() -> keras.Model:
    """One activation and one inner model for several calls, beside numbered names; the outputs of
    ops.split and a slice; augmentation; a factor; bilinear enlargement, also by an extra row; a
    maximum over all positions and ops.flip."""
    image = keras.Input(SHAPE, name="image")
    inner = keras.Sequential([keras.Input((12, 12, 8)), layers.Conv2D(8, 3, padding="same")])
    x = layers.RandomRotation(0.2)(layers.RandomFlip("horizontal")(image))
    twice = layers.Activation("relu", name="activation")
    x = twice(inner(twice(inner(twice(layers.Conv2D(8, 3, padding="same")(x))))))
    left, right = keras.ops.split(x, 2, axis=-1)
    left = layers.Conv2D(8, 3, padding="same")(left)
    left = layers.Activation("relu", name="activation_2")(left)
    x = layers.Concatenate()([left, right, layers.ReLU()(_conv(x[..., ::2], 4))])
    x = 0.5 * layers.UpSampling2D(2, interpolation="bilinear")(_conv(x, 8, strides=2))
    x = layers.Conv2DTranspose(8, 3, strides=2, output_padding=1, activation="relu")(x)
    x = layers.Resizing(7, 9)(layers.ReLU()(_norm(_conv(x, 8, strides=2))))
    x = layers.Reshape((-1, 8))(layers.ReLU()(_norm(_conv(x, 8, 1))))
    x = keras.ops.flip(keras.ops.tanh(layers.GlobalMaxPooling1D()(x)), -1)
    return keras.Model(image, layers.Dense(4)(x))


def recurrent() -> keras.Model:
    """Rows of an image as steps in time, for a layer in both directions and one more."""
    image = keras.Input(SHAPE, name="image")
    x = layers.ReLU()(_norm(_conv(image, 8, strides=4)))
    x = layers.Bidirectional(layers.LSTM(4, return_sequences=True))(layers.Reshape((3, 24))(x))
    return keras.Model(image, layers.Dense(4)(layers.GRU(8)(x)))


NETWORKS = {
    build.__name__: build
    for build in (plain, unpadded, residual, separable, concatenated, nested, shared)
}


APPLICATIONS = {build.__name__: build for build in (xception, convnext, squeezed)}
"""What is special in the architectures of keras.applications."""


UNUSUAL = {build.__name__: build for build in (branched, recurrent)}
"""What no architecture above has, and users' networks do."""


def randomized(model: keras.Model, seed: int = 0) -> keras.Model:
    """`model` with random weights, biases and batch statistics, none of them zero."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            randomized(layer, seed + 1)
        elif isinstance(layer, layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
        elif isinstance(layer, layers.Normalization):
            continue
        else:
            layer.set_weights([_random(weights.shape, rng) for weights in layer.get_weights()])
    return model


def _random(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    if len(shape) == 1:  # a bias, a scale or an offset
        return rng.normal(0, 0.1, shape)
    return rng.normal(0, np.sqrt(2.0 / np.prod(shape[:-1])), shape)


def images(count: int, seed: int = 0, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """`pixels` after preprocessing: float32 (count, H, W, C) in 0..1."""
    return pixels(count, seed, shape).astype(np.float32) * np.float32(1 / 255)


def pixels(count: int, seed: int = 0, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Random pixels: uint8 (count, H, W, C)."""
    return np.random.default_rng(seed).integers(0, 256, (count, *shape)).astype(np.uint8)
