"""A network that needs both of its inputs, an image and a vector of numbers, and data for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers
from sklearn.datasets import load_digits

from stages.artifacts.signature import Input, Signature
from stages.datasets.base import DataSet, Split
from stages.numerics import fields

PIXELS = Input("pixels", (8, 8, 1), 1 / 255, 0.0, "NHWC", "float32", "uint8")
EXTRA = Input("extra", (6,), 1.0, 0.0, "NC", "float32", "float32")
CLASSES = ("low, less", "low, more", "high, less", "high, more")
SIGNATURE = Signature((), CLASSES, 1.0, 0.0, inputs=(PIXELS, EXTRA))
"""In an order that is not that of the names, which data sets have."""


def network() -> keras.Model:
    """Convolutions of the digit, a hidden layer of the numbers, and one of both."""
    pixels = keras.Input((8, 8, 1), name="pixels")
    extra = keras.Input((6,), name="extra")
    x = layers.Conv2D(16, 3, padding="same", use_bias=False, name="conv")(pixels)
    x = layers.ReLU()(layers.BatchNormalization(name="norm")(x))
    x = layers.Conv2D(16, 3, activation="relu", name="deep")(layers.MaxPooling2D()(x))
    y = layers.Dense(8, activation="relu", name="hidden")(extra)
    x = layers.Concatenate(name="both")([layers.Flatten()(x), y])
    x = layers.Dense(32, activation="relu", name="joint")(x)
    return keras.Model([pixels, extra], layers.Dense(4, name="logits")(x), name="two_inputs")


def arrays(count: int, start: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """`count` digits, and numbers whose mean is above 0 or below, with a class of four: whether the
    digit is above 4, and whether the mean is above 0. One input alone tells two apart."""
    digits = load_digits()
    taken = slice(start, start + count)
    images = np.round(digits.images[taken] * (255 / 16)).astype(np.uint8)[..., None]
    random = np.random.default_rng(start)
    is_more = random.integers(0, 2, len(images))
    extra = random.normal(2.0 * is_more[:, None] - 1, 1.0, (len(images), 6)).astype(np.float32)
    high = digits.target[taken] > 4
    return {"pixels": images, "extra": extra}, 2 * high.astype(np.int64) + is_more


def split(count: int, start: int = 0) -> Split:
    """The same, with fields sorted by name."""
    images, labels = arrays(count, start)
    return Split(fields.joined({name: images[name] for name in sorted(images)}), labels)


def dataset(train: int = 96, others: int = 32) -> DataSet:
    """A few of them in each split."""
    starts = [0, *(train + others * at for at in range(3))]
    sizes = [train, others, others, others]
    parts = [split(size, start) for size, start in zip(sizes, starts, strict=True)]
    return DataSet("two inputs", *parts, CLASSES)


def write(file: Path, train: int = 1000, test: int = 300) -> Path:
    """An `.npz` of them."""
    parts: dict[str, Any] = {}
    for part, (count, start) in {"train": (train, 0), "test": (test, train)}.items():
        images, parts[f"y_{part}"] = arrays(count, start)
        parts |= {f"x_{part}/{name}": each for name, each in images.items()}
    np.savez(file, **parts)
    return file
