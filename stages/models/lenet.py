"""LeNet-5 with today's parts: ReLU and max-pooling in place of tanh and subsampling.

LeCun et al., "Gradient-Based Learning Applied to Document Recognition", 1998, section 2.B.
"""

from __future__ import annotations

import keras
from keras import layers

from stages.models.blocks import relu


def build(input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Conv 6 - pool - Conv 16 - pool - Dense 120 - Dense 84 - Dense `classes`, logits."""
    image = keras.Input(input_shape, name="image")  # (N, 28, 28, 1)
    x = layers.Conv2D(6, 5, padding="same", name="conv1")(image)
    x = layers.MaxPooling2D(name="pool1")(relu(x, "conv1"))  # (N, 14, 14, 6)
    x = layers.Conv2D(16, 5, name="conv2")(x)
    x = layers.MaxPooling2D(name="pool2")(relu(x, "conv2"))  # (N, 5, 5, 16)
    x = layers.Flatten(name="flatten")(x)  # (N, 400)
    for number, units in enumerate((120, 84), start=1):
        x = relu(layers.Dense(units, name=f"dense{number}")(x), f"dense{number}")
    return keras.Model(image, layers.Dense(classes, name="logits")(x), name="lenet")
