"""ResNet-8 for small colour images, the residual network of the MLPerf Tiny benchmark.

Banbury et al., "MLPerf Tiny Benchmark", 2021; the blocks are those of He et al., "Deep Residual
Learning for Image Recognition", 2016, section 4.2.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

BN_MOMENTUM = 0.9
"""Keras' 0.99 needs thousands of steps; after a few hundred its statistics are still noise."""

STAGES = (16, 32, 64)
"""Channels; every stage but the first halves height and width."""


def build(input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Conv 16 - a residual block of 16, 32 and 64 channels - average - Dense `classes`, logits."""
    image = keras.Input(input_shape, name="image")
    x = _activated(_convolved(image, STAGES[0], "stem"), "stem")  # (N, 32, 32, 16)
    for number, channels in enumerate(STAGES, start=1):
        x = _block(x, channels, f"block{number}")  # (N, 8, 8, 64) after the last
    x = layers.GlobalAveragePooling2D(name="average")(x)
    return keras.Model(image, layers.Dense(classes, name="logits")(x), name="resnet8")


def _block(x: Any, channels: int, name: str) -> Any:
    strides = 1 if x.shape[-1] == channels else 2
    arm = _activated(_convolved(x, channels, f"{name}_a", strides=strides), f"{name}_a")
    arm = _convolved(arm, channels, f"{name}_b")
    if strides != 1:
        x = _convolved(x, channels, f"{name}_shortcut", size=1, strides=strides)
    return _activated(layers.Add(name=f"{name}_add")([arm, x]), name)


def _convolved(x: Any, channels: int, name: str, size: int = 3, strides: int = 1) -> Any:
    x = layers.Conv2D(
        channels, size, strides=strides, padding="same", use_bias=False, name=f"{name}_conv"
    )(x)
    return layers.BatchNormalization(momentum=BN_MOMENTUM, name=f"{name}_bn")(x)


def _activated(x: Any, name: str) -> Any:
    return layers.ReLU(name=f"{name}_relu")(x)
