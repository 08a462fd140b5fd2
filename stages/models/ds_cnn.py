"""A depthwise-separable CNN for small colour images, about 70,000 parameters.

The blocks are those of Howard et al., "MobileNets: Efficient Convolutional Neural Networks for
Mobile Vision Applications", 2017, figure 3, with fewer and narrower ones for images of 32 pixels.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from stages.models.blocks import batch_norm, conv_bn, relu

STEM = 32
BLOCKS = ((64, 2), (64, 1), (128, 2), (128, 1), (256, 2))
"""Channels and strides."""


def build(input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Conv 32 - five separable blocks, 64 to 256 - average - Dense `classes`, logits."""
    image = keras.Input(input_shape, name="image")
    x = relu(conv_bn(image, STEM, "stem"), "stem")  # (N, 32, 32, 32)
    for number, (channels, strides) in enumerate(BLOCKS, start=1):
        x = _block(x, channels, strides, f"block{number}")  # (N, 4, 4, 256) after the last
    x = layers.GlobalAveragePooling2D(name="average")(x)
    return keras.Model(image, layers.Dense(classes, name="logits")(x), name="ds_cnn")


def _block(x: Any, channels: int, strides: int, name: str) -> Any:
    depth = f"{name}_depth"
    x = layers.DepthwiseConv2D(3, strides=strides, padding="same", use_bias=False, name=depth)(x)
    x = relu(batch_norm(x, f"{depth}_bn"), depth)
    return relu(conv_bn(x, channels, f"{name}_point", size=1), f"{name}_point")
