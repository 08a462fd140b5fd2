"""Keras models on disk."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from stages.errors import ModelError, shown
from stages.models import keras2_h5

LEGACY = (".h5", ".hdf5")
DATE = "1980-01-01@00:00:00"
"""For every file: the date alone would make stale all that was made from it."""


def load(path: Path) -> keras.Model:
    """Load a `.keras` or legacy `.h5` file (Keras 2's too) in safe mode, uncompiled.

    Safe mode refuses Lambda layers, whose code would run on loading.
    Raises ModelError if the file is missing, unreadable or unsafe, and for what Keras 2 computed
    otherwise.
    """
    if not path.is_file():
        raise ModelError(
            f"no model file {shown(str(path))}", "set model.source to a .keras or .h5 file"
        )
    try:
        if path.suffix not in LEGACY:
            keras2_h5.refuse_changed_in_archive(path)
        with tempfile.TemporaryDirectory() as folder:
            file = keras2_h5.translated(path, Path(folder)) if path.suffix in LEGACY else path
            model: keras.Model = keras.saving.load_model(file, compile=False, safe_mode=True)
            _freeze_inside(model)
            return model
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"{str(path)!r} cannot be loaded as a Keras model: {reason(error)}",
            "save it with model.save('name.keras') under Keras 3; custom layers need "
            "model.source=module:function",
        ) from error


def _freeze_inside(model: keras.Model) -> None:
    """Freeze what is inside of frozen layers, as of attention: in a file they alone are frozen, and
    all within them would learn.

    A file says this of what a wrapper holds too: where those are not all alike, they stay as it
    says.
    """
    for layer in model._flatten_layers(include_self=False):
        if layer.trainable or isinstance(layer, keras.Model):
            continue
        inside = layer._flatten_layers(include_self=False)
        names = set(_described(layer.get_config())) if inside else set()
        described = [each for each in inside if each.name in names]
        kept = described if len({each.trainable for each in described}) > 1 else []
        for each in layer._flatten_layers(include_self=False, recursive=False):
            if not any(each is other for other in kept):
                each.trainable = False


def _described(config: Any) -> Iterator[str]:
    """The names of the layers that are inside the configuration of another."""
    if not isinstance(config, dict | list | tuple):
        return
    for each in config.values() if isinstance(config, dict) else config:
        inner = each.get("config") if isinstance(each, dict) else None
        if isinstance(inner, dict) and isinstance(inner.get("name"), str):
            yield inner["name"]
        yield from _described(each)


def reason(error: BaseException) -> str:
    """Why Keras cannot load a model, in one line: the class or function it lacks, if that is it."""
    lacking = re.search(r"Could not locate \w+ '[^']*'", str(error))
    lines = [lacking[0]] if lacking else str(error).strip().splitlines()
    return next(iter(lines), type(error).__name__)


def in_one_line(error: BaseException) -> str:
    """What Keras or TensorFlow say, in at most 200 characters, without the list of calls before."""
    text = re.sub(r"\x1b\[\d*m", "", str(error)).strip()
    if text.startswith("in user code:"):
        text = text.rpartition("\n\n")[2]
    elif text.startswith("Exception encountered when calling"):
        text = text.split("\n\n")[1]
    return " ".join(text.split())[:200] or type(error).__name__


def save(model: keras.Model, path: Path) -> None:
    """Write `model` as a `.keras` file; equal models give equal bytes.

    The optimizer's moments of its last training are left out: they would triple the file, and no
    stage continues another's training.
    """
    # With a name: that of a default one ends in a number that counts the optimizers so far.
    model.compile(keras.optimizers.RMSprop(name="rmsprop"))
    with tempfile.TemporaryDirectory() as folder:
        dated = Path(folder) / path.name
        model.save(dated)
        with zipfile.ZipFile(dated) as source, zipfile.ZipFile(path, "w") as target:
            for name in sorted(source.namelist()):
                _copy(source, target, name)


def save_h5(model: keras.Model, path: Path) -> None:
    """Write `model` as a legacy `.h5` file. Raises ModelError if it does not come back the same."""
    try:
        keras.saving.save_model(model, path, include_optimizer=False)
        loaded = load(path)
        same = loaded.get_config() == model.get_config() and all(
            np.array_equal(one, other)
            for one, other in zip(loaded.get_weights(), model.get_weights(), strict=True)
        )
    except Exception as error:
        raise _not_in_h5(reason(error.__cause__ or error)) from error
    if not same:
        raise _not_in_h5("it would come back as another model")


def _not_in_h5(why: str) -> ModelError:
    return ModelError(
        f"the model cannot be written as .h5: {why}", "leave it out: --set train.save_h5=false"
    )


def _copy(source: zipfile.ZipFile, target: zipfile.ZipFile, name: str) -> None:
    """Copy a member without the time, and without the memory addresses of shared objects."""
    # A ZipInfo's own date is a constant; `force_zip64` because the size is not known beforehand.
    with source.open(name) as old, target.open(zipfile.ZipInfo(name), "w", force_zip64=True) as new:
        if name.endswith(".json"):
            new.write(json.dumps(_undated(json.load(old), {})).encode())
        else:
            shutil.copyfileobj(old, new)


def _undated(content: Any, numbers: dict[int, int]) -> Any:
    """`content` with a constant date, and shared objects numbered in order of appearance."""
    if isinstance(content, list):
        return [_undated(each, numbers) for each in content]
    if not isinstance(content, dict):
        return content
    plain = {key: _undated(value, numbers) for key, value in content.items()}
    if "date_saved" in plain:
        plain["date_saved"] = DATE
    if isinstance(address := plain.get("shared_object_id"), int):
        plain["shared_object_id"] = numbers.setdefault(address, len(numbers) + 1)
    return plain
