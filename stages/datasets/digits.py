"""The handwritten digits that ship with scikit-learn: 1797 real images of 8x8 pixels, no network.

They are enlarged to 28x28, so that the models for MNIST fit. The set has no test part of its own;
a fixed fifth is held out, which no setting can change. scikit-learn comes with the extra `digits`.
Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998.
"""

from __future__ import annotations

import functools
import math
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stages.datasets.base import Part, Split
from stages.datasets.splits import divide
from stages.errors import DataError
from stages.errors.packages import install
from stages.settings import Data

FILE = "datasets/data/digits.csv.gz"
"""In the folder of scikit-learn: importing that, for this file only, takes half a second."""

SIDE = 28
TEST_SHARE = 0.2
TEST_SEED = 1998


def class_names(settings: Data) -> tuple[str, ...]:
    """The digits. Raises DataError where a path is given: nobody would read it."""
    if settings.path is not None:
        raise DataError(
            f"data.path is {settings.path!r}, but the data set 'digits' is part of scikit-learn",
            "set the kind of file: --set data.name=npz (or mnist, folder), or leave out data.path",
        )
    return tuple(str(digit) for digit in range(10))


def read(settings: Data, part: Part) -> Split:
    """1437 images to train on or the 360 held out: uint8 (N, 28, 28, 1).

    Raises DataError where scikit-learn is not installed.
    """
    images, labels = _decoded(_file())
    test, train = divide(labels, [math.ceil(TEST_SHARE * len(labels))], TEST_SEED)
    indices = train if part == "train" else test
    return Split(images[indices], labels[indices])


@functools.cache
def _decoded(file: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """All images, enlarged, and their labels: once, for all stages of a process."""
    raw = np.loadtxt(file, delimiter=",")
    images = np.stack([_enlarged(image) for image in raw[:, :-1].reshape(-1, 8, 8)])
    return images[..., None], raw[:, -1].astype(np.int64)


def _file() -> Path:
    """The file of scikit-learn: a row per image, 64 values from 0 to 16 and the digit."""
    found = find_spec("sklearn")
    reason = "is not installed"
    if found and found.origin:
        file = Path(found.origin).parent / FILE
        if file.is_file():
            return file
        reason = f"has no {file}"
    raise DataError(
        f"the data set 'digits' is part of scikit-learn, which {reason}",
        f"{install(['scikit-learn'])}, or set another data.name",
    )


def _enlarged(image: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Values 0..16 (8, 8) -> uint8 0..255 (28, 28), bilinear."""
    pixels = np.rint(image * (255 / 16)).astype(np.uint8)
    bilinear = Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(pixels).resize((SIDE, SIDE), bilinear), np.uint8)
