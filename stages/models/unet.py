"""A small U-Net: Ronneberger, Fischer and Brox, 2015, with batch normalisation and padding."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from stages.errors import ModelError
from stages.models.blocks import conv_bn, relu

CHANNELS = (16, 32, 64)
"""On the way down; the last are those at the bottom."""


def build(input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Two halvings, two doublings, skip connections by concatenation; logits (N, H, W, classes).

    Raises ModelError where height and width are no multiples of 4.
    """
    halvings = len(CHANNELS) - 1
    if any(size % 2**halvings for size in input_shape[:2]):
        raise ModelError(
            f"unet halves its images {halvings} times, these are {input_shape[:2]}, expected "
            f"multiples of {2**halvings}",
            "resize them: --set data.image_size=SIZE",
        )
    image = keras.Input(input_shape, name="image")
    x, skips = image, []
    for index, channels in enumerate(CHANNELS[:-1], start=1):
        x = _block(x, channels, f"down{index}")  # (N, H, W, 16), (N, H / 2, W / 2, 32)
        skips.append(x)
        x = layers.MaxPooling2D(name=f"pool{index}")(x)
    x = _block(x, CHANNELS[-1], "bottom")  # (N, H / 4, W / 4, 64)
    for index, channels in reversed(list(enumerate(CHANNELS[:-1], start=1))):
        x = layers.Conv2DTranspose(channels, 2, strides=2, name=f"up{index}")(x)
        x = layers.Concatenate(name=f"skip{index}")([x, skips[index - 1]])
        x = _block(x, channels, f"up{index}_block")
    return keras.Model(image, layers.Conv2D(classes, 1, name="logits")(x), name="unet")


def _block(x: Any, channels: int, name: str) -> Any:
    for part in ("a", "b"):
        x = relu(conv_bn(x, channels, f"{name}_{part}"), f"{name}_{part}")
    return x
