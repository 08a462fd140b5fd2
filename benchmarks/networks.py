"""Small networks as people build them beside keras.applications, for benchmarks/coverage.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import layers

from stages.models import unet

CLASSES = 10


def u_net() -> keras.Model:
    """Skip connections by concatenation, transposed convolutions, a class for each pixel."""
    return unet.build((32, 32, 3), 4)


def resnet_1d() -> keras.Model:
    """He et al., 2015, along time: 128 samples of two channels, three stages of two blocks."""
    signal = keras.Input((128, 2), name="signal")
    x = _norm_relu(layers.Conv1D(16, 7, strides=2, padding="same", use_bias=False)(signal))
    x = layers.MaxPooling1D(3, strides=2, padding="same")(x)
    for filters in (16, 32, 64):
        for block in range(2):
            strides = 2 if filters > 16 and block == 0 else 1
            options: dict[str, Any] = {"padding": "same", "use_bias": False}
            arm = _norm_relu(layers.Conv1D(filters, 3, strides=strides, **options)(x))
            arm = layers.BatchNormalization()(layers.Conv1D(filters, 3, **options)(arm))
            if strides > 1:
                x = layers.Conv1D(filters, 1, strides=strides, use_bias=False)(x)
                x = layers.BatchNormalization()(x)
            x = layers.ReLU()(layers.Add()([arm, x]))
    return keras.Model(signal, layers.Dense(CLASSES)(layers.GlobalAveragePooling1D()(x)))


class Positions(layers.Layer):
    """A learned vector for each patch, added to it: a layer of one's own, as most ViTs have."""

    def build(self, shape: tuple[int | None, ...]) -> None:
        """One for all images: (patches, width)."""
        self.embedding = self.add_weight(shape=shape[1:], initializer="random_normal")

    def call(self, patches: Any) -> Any:
        """(N, patches, width) twice."""
        return patches + self.embedding


def tiny_vit() -> keras.Model:
    """Dosovitskiy et al., 2021: patches of 8 x 8 pixels, two blocks of four heads, width 64."""
    image = keras.Input((32, 32, 3), name="image")
    x = layers.Reshape((16, 64))(layers.Conv2D(64, 8, strides=8)(image))
    x = Positions()(x)
    for _ in range(2):
        normal = layers.LayerNormalization(epsilon=1e-6)(x)
        x = layers.Add()([x, layers.MultiHeadAttention(4, 16)(normal, normal)])
        hidden = layers.Dense(128, activation="gelu")(layers.LayerNormalization(epsilon=1e-6)(x))
        x = layers.Add()([x, layers.Dense(64)(hidden)])
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization(epsilon=1e-6)(x))
    return keras.Model(image, layers.Dense(CLASSES)(x))


def detector() -> keras.Model:
    """Boxes and classes of three anchors in each of 8 x 8 cells, from one backbone."""
    image = keras.Input((64, 64, 3), name="image")
    x = image
    for filters in (16, 32, 64):
        x = layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False)(x)
        x = _norm_relu(x)
    heads = [
        layers.Conv2D(3 * values, 1, name=name)(
            _norm_relu(layers.Conv2D(32, 3, padding="same", use_bias=False)(x))
        )
        for name, values in (("boxes", 4), ("classes", CLASSES))
    ]
    return keras.Model(image, heads)


def _norm_relu(x: Any) -> Any:
    return layers.ReLU()(layers.BatchNormalization()(x))


NETWORKS: dict[str, Callable[[], keras.Model]] = {
    "U-Net": u_net,
    "1-D ResNet": resnet_1d,
    "tiny ViT": tiny_vit,
    "two-headed detector": detector,
}
