"""Blocks that several networks share."""

from __future__ import annotations

from typing import Any

from keras import layers

BN_MOMENTUM = 0.9
"""Keras' 0.99 needs thousands of steps; after a few hundred its statistics are still noise."""


def batch_norm(x: Any, name: str) -> Any:
    """Batch normalisation over the channels."""
    return layers.BatchNormalization(momentum=BN_MOMENTUM, name=name)(x)


def conv_bn(x: Any, channels: int, name: str, size: int = 3, strides: int = 1) -> Any:
    """(N, H, W, C) -> (N, H / strides, W / strides, channels): `name`_conv, then `name`_bn."""
    x = layers.Conv2D(
        channels, size, strides=strides, padding="same", use_bias=False, name=f"{name}_conv"
    )(x)
    return batch_norm(x, f"{name}_bn")


def relu(x: Any, name: str) -> Any:
    """A ReLU called `name`_relu."""
    return layers.ReLU(name=f"{name}_relu")(x)
