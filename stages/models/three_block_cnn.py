"""A plain CNN of three blocks, for gray or colour images of about 32 pixels."""

from __future__ import annotations

import keras
from keras import layers

from stages.models.blocks import conv_bn, relu

CHANNELS, UNITS = (64, 64, 128), 64


def build(input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Conv 64 - pool - Conv 64 - pool - Conv 128 - pool - average - Dense 64 - Dense `classes`.

    Batch normalisation and ReLU follow every convolution, ReLU the first Dense layer. Logits.
    """
    image = keras.Input(input_shape, name="image")
    x = image  # (N, 32, 32, 3)
    for number, channels in enumerate(CHANNELS, start=1):
        name = f"block{number}"
        x = relu(conv_bn(x, channels, name), name)
        x = layers.MaxPooling2D(name=f"{name}_pool")(x)  # (N, 4, 4, 128) after the last
    x = layers.GlobalAveragePooling2D(name="average")(x)
    x = relu(layers.Dense(UNITS, name="dense1")(x), "dense1")
    return keras.Model(image, layers.Dense(classes, name="logits")(x), name="three_block_cnn")
