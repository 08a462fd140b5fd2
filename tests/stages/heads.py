"""A network with several outputs, for the tests of all that must keep them."""

from __future__ import annotations

import keras
from keras import layers

from stages.artifacts.signature import Head, Signature
from tests.stages.networks import SHAPE

SIDE = SHAPE[0] // 2
PLACES = SIDE * SIDE * 4


def _numbers(name: str, count: int) -> Head:
    return Head(name, "regression", "values", tuple(map(str, range(count))), ())


def _map(name: str, *shape: int) -> Head:
    return Head(name, "segmentation", "logits", tuple("abcd"[: shape[-1]]), shape)


SIGNATURE = Signature(
    SHAPE,
    (),
    1 / 255,
    0.0,
    output="values",
    task="several",
    heads=(
        Head("kind", "classification", "probabilities", ("a", "b", "c"), ()),
        _map("mask", SHAPE[0], SHAPE[1], 2),
        _numbers("box", 4),
        _numbers("pose", 4),
        _map("raw", SIDE, SIDE, 4),
        _numbers("flat", PLACES),
        _map("turned", SIDE, SIDE, 4),
        _map("again", SIDE, SIDE, 4),
    ),
)
"""In an order that is not alphabetical; box and pose have one shape."""


def detector() -> keras.Model:
    """Classes by a softmax, a mask, boxes and poses, and what others read as well: a convolution
    before its ReLU, its flattened result, and one that is turned, twice."""
    image = keras.Input(SHAPE, name="image")
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="stem")(image)
    x = layers.MaxPooling2D()(layers.ReLU()(layers.BatchNormalization(name="norm")(x)))
    raw = layers.Conv2D(4, 3, padding="same", name="conv")(x)
    seen = layers.ReLU(name="seen")(raw)
    flat, turned = layers.Flatten()(seen), layers.Permute((2, 1, 3))(seen)
    wide = layers.Conv2DTranspose(6, 2, strides=2, activation="relu", name="wide")(x)
    return keras.Model(
        image,
        [
            layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(x)),
            layers.Conv2D(2, 3, padding="same")(wide),
            layers.Dense(4)(flat),
            layers.Dense(4)(flat),
            raw,
            flat,
            turned,
            turned,
        ],
        name="detector",
    )
