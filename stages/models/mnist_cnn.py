"""The small CNN of countless MNIST tutorials, with batch normalisation."""

from __future__ import annotations

import keras
from keras import layers

from stages.models.blocks import batch_norm


def build(input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Conv 32 - pool - Conv 64 - pool - Dense 64 - Dropout 0.5 - Dense `classes`, logits."""
    image = keras.Input(input_shape, name="image")
    x = image  # (N, 28, 28, 1)
    for index, channels in enumerate((32, 64), start=1):
        x = layers.Conv2D(channels, 3, use_bias=False, name=f"conv{index}")(x)
        x = batch_norm(x, f"bn{index}")
        x = layers.ReLU(name=f"relu{index}")(x)
        x = layers.MaxPooling2D(name=f"pool{index}")(x)  # (N, 13, 13, 32), (N, 5, 5, 64)
    x = layers.Flatten(name="flatten")(x)  # (N, 1600)
    x = layers.Dense(64, use_bias=False, name="dense1")(x)
    x = batch_norm(x, "bn3")
    x = layers.ReLU(name="relu3")(x)
    x = layers.Dropout(0.5, name="dropout")(x)
    return keras.Model(image, layers.Dense(classes, name="logits")(x), name="mnist_cnn")
