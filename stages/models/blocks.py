"""Steps that several networks share: a convolution with batch normalisation, an activation."""

from __future__ import annotations

from typing import Any

from keras import layers

BN_MOMENTUM = 0.9
"""Keras' 0.99 needs thousands of steps; after a few hundred its statistics are still noise."""


def normalised(x: Any, name: str) -> Any:
    """Batch normalisation over the channels."""
    return layers.BatchNormalization(momentum=BN_MOMENTUM, name=name)(x)


def convolved(x: Any, channels: int, name: str, size: int = 3, strides: int = 1) -> Any:
    """(N, H, W, C) -> (N, H / strides, W / strides, channels): `name`_conv, then `name`_bn."""
    x = layers.Conv2D(
        channels, size, strides=strides, padding="same", use_bias=False, name=f"{name}_conv"
    )(x)
    return normalised(x, f"{name}_bn")


def activated(x: Any, name: str) -> Any:
    """A ReLU called `name`_relu."""
    return layers.ReLU(name=f"{name}_relu")(x)
