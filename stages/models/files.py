"""Keras models on disk."""

from __future__ import annotations

import tempfile
from pathlib import Path

import keras

from stages.errors import ModelError
from stages.models import keras2_h5

LEGACY = (".h5", ".hdf5")


def load(path: Path) -> keras.Model:
    """Load a `.keras` or legacy `.h5` file (Keras 2's too) in safe mode, uncompiled.

    Safe mode refuses Lambda layers, whose code would run on loading.
    Raises ModelError if the file is missing, unreadable or unsafe.
    """
    if not path.is_file():
        raise ModelError(f"no model file {str(path)!r}", "set model.source to a .keras or .h5 file")
    try:
        with tempfile.TemporaryDirectory() as folder:
            file = keras2_h5.translated(path, Path(folder)) if path.suffix in LEGACY else path
            return keras.saving.load_model(file, compile=False, safe_mode=True)
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(
            f"{str(path)!r} cannot be loaded as a Keras model: {reason}",
            "save it with model.save('name.keras') under Keras 3; custom layers need "
            "model.source=module:function",
        ) from error


def save(model: keras.Model, path: Path) -> None:
    """Write `model` as a `.keras` file, without the optimizer's moments of its last training.

    They would triple the file, and no stage continues another's training.
    """
    model.compile()
    model.save(path)
