"""MNIST: from a file, from the copy that Keras keeps, or by Keras' own download.

Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits".
"""

from __future__ import annotations

import os
from pathlib import Path

from stages.datasets import npz
from stages.datasets.base import Part, Split, required_path
from stages.errors import DataError
from stages.settings import Data


def class_names(settings: Data) -> tuple[str, ...]:
    """The digits."""
    return tuple(str(digit) for digit in range(10))


def read(settings: Data, part: Part) -> Split:
    """60000 training or 10000 test images: uint8 (N, 28, 28, 1)."""
    return npz.read_part(_file(settings), part)


def _file(settings: Data) -> Path:
    """data.path, else the copy that Keras keeps, else that copy after Keras has fetched it."""
    if settings.path is not None:
        return required_path(settings)
    kept = _keras_home() / "datasets" / "mnist.npz"
    if not kept.exists():
        _download(kept)
    return kept


def _keras_home() -> Path:
    """Where Keras keeps its files (as keras/src/backend/config.py says, not imported)."""
    if home := os.environ.get("KERAS_HOME"):
        return Path(home)
    return (Path.home() if os.access(Path.home(), os.W_OK) else Path("/tmp")) / ".keras"


def _download(kept: Path) -> None:
    """Let Keras fetch MNIST; the one edge from the data sets to Keras, taken at most once."""
    import keras

    try:
        keras.datasets.mnist.load_data()
    except Exception as error:  # Keras raises a bare Exception when the address does not answer
        raise DataError(
            f"MNIST is not at {kept}, and Keras cannot download it ({error})",
            "fetch mnist.npz on a machine with network, then: --set data.path=mnist.npz",
        ) from error
