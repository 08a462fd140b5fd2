"""Residual networks for small colour images: ResNet-8 and ResNet-20.

He et al., "Deep Residual Learning for Image Recognition", 2016, section 4.2: depth 6n + 2. With
n = 1 it is the residual network of Banbury et al., "MLPerf Tiny Benchmark", 2021. The shortcut
that changes the number of channels is a 1x1 convolution.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from stages.models.blocks import conv_bn, relu

CHANNELS = (16, 32, 64)
"""Every group of blocks but the first halves height and width."""


def build(depth: int, input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Conv 16 - groups of 16, 32 and 64 channels - average - Dense `classes`, logits.

    Each group has (`depth` - 2) / 6 residual blocks.
    """
    image = keras.Input(input_shape, name="image")
    x = relu(conv_bn(image, CHANNELS[0], "stem"), "stem")  # (N, 32, 32, 16)
    widths = [channels for channels in CHANNELS for _ in range((depth - 2) // 6)]
    for number, channels in enumerate(widths, start=1):
        x = _block(x, channels, f"block{number}")  # (N, 8, 8, 64) after the last
    x = layers.GlobalAveragePooling2D(name="average")(x)
    return keras.Model(image, layers.Dense(classes, name="logits")(x), name=f"resnet{depth}")


def _block(x: Any, channels: int, name: str) -> Any:
    strides = 1 if x.shape[-1] == channels else 2
    arm = relu(conv_bn(x, channels, f"{name}_a", strides=strides), f"{name}_a")
    arm = conv_bn(arm, channels, f"{name}_b")
    if strides != 1:
        x = conv_bn(x, channels, f"{name}_shortcut", size=1, strides=strides)
    return relu(layers.Add(name=f"{name}_add")([arm, x]), name)
