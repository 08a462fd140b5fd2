"""Images with what Keras says of them, which travel from `convert` to `build`: `samples.npz`.

images, labels                          test images, to check engines with
keras ...                               their logits, of the float model and as each target rounds
explained: keras ...                    how far rounding explains those of an engine to be from them
validation_images, validation_labels    to choose an engine by: test images must not
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.artifacts.signature import Signature
from stages.datasets.base import Split
from stages.measurement import parity
from stages.numerics.parity import Logits

SAMPLES_FILE = "samples.npz"
LAYER_PARITY_IMAGES, LAYER_PARITY_PIXELS = range(4, 17), 2**16
"""Fewest and most images to compare layer by layer, and in between how many pixels: one of 224x224
already has every kernel compute millions of values."""
OUTPUT_BYTES = 128 << 20
"""Outputs of one model: of 64 masks of 256x256 pixels and 8 classes."""
VALIDATION_SAMPLES, VALIDATION_BYTES = 2048, 64 << 20


def most_samples(signature: Signature) -> int:
    """How many test images there may be, of whose outputs there are as many as simulations."""
    one = sum(4 * math.prod(each.shape_of_output) for each in signature.each)
    return max(LAYER_PARITY_IMAGES[-1], OUTPUT_BYTES // max(one, 1))


def layer_parity_images(signature: Signature) -> int:
    """How many images to compare layer by layer."""
    places = sum(math.prod(own.input_shape[:-1]) for own in signature.each_input)
    wanted = LAYER_PARITY_PIXELS // places
    return min(max(wanted, LAYER_PARITY_IMAGES[0]), LAYER_PARITY_IMAGES[-1])


def write_samples(
    samples: Split,
    validation: Split,
    logits: Mapping[str, Logits],
    differences: Mapping[str, NDArray[Any]],
    folder: Path,
) -> None:
    """Write `samples.npz` into `folder`, with as many validation images as fit.

    `logits` (N, ...) of the N samples, and `differences` (values,) from them, are by the name of
    the Keras model.
    """
    arrays: dict[str, Any] = {"images": samples.images[:], "labels": samples.labels, **logits}
    arrays |= {parity.explained(name): each for name, each in differences.items()}
    one = math.prod(validation.images.shape[1:]) * validation.images.dtype.itemsize
    room = max(1, VALIDATION_BYTES // one)
    few = validation.sample(min(room, VALIDATION_SAMPLES))
    arrays |= {"validation_images": few.images[:], "validation_labels": few.labels}
    np.savez(folder / SAMPLES_FILE, **arrays)
