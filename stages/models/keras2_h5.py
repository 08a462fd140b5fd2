"""Translate `.h5` files of Keras 2 for Keras 3.

Keras 3 reads most of them. What it stumbles over is translated in the description of the model;
the weights stay as they are. What it would compute otherwise is refused, in a `.keras` file too.
"""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from stages.errors import ModelError

Config = dict[str, Any]

UNGROUPED = ("DepthwiseConv2D", "SeparableConv2D", "Conv2DTranspose")
"""Layers that were written with the `groups` of their base class, always 1."""

SCALAR_OPERATIONS = {
    "math.multiply": lambda y: {"scale": y, "offset": 0.0},
    "math.truediv": lambda y: {"scale": 1 / y, "offset": 0.0},
    "math.add": lambda y: {"scale": 1.0, "offset": y},
    "__operators__.add": lambda y: {"scale": 1.0, "offset": y},
    "math.subtract": lambda y: {"scale": 1.0, "offset": -y},
}
"""Operators between a tensor and a number, as a Rescaling layer."""


def translated(path: Path, folder: Path) -> Path:
    """`path` itself, or a copy in `folder` if Keras 3 needs other words.

    Raises OSError if it is no HDF5 file, and ModelError as `refuse_changed` does.
    """
    with h5py.File(path) as file:
        written, version = file.attrs.get("model_config"), file.attrs.get("keras_version", "")
    if written is None:
        return path
    config = json.loads(written)
    refuse_changed(config, version)
    modern = translate(config)
    if modern == config:
        return path
    copy = folder / path.name
    shutil.copyfile(path, copy)
    with h5py.File(copy, "r+") as file:
        file.attrs["model_config"] = json.dumps(modern)
    return copy


def refuse_changed(config: Any, version: Any) -> None:
    """Raises ModelError for a description with what is another function in Keras 3, unless that
    wrote it. `version` is what the file says of it, which may be nothing or no version."""
    text = version.decode(errors="replace") if isinstance(version, bytes) else str(version or "")
    number = re.match(r"\d+", text)
    if number and int(number[0]) >= 3:
        return
    wrote = f"Keras {text}" if number else "Keras 2, or of 3: the file does not say which wrote it"
    again = "" if number else "if Keras 3 wrote it, load it there and save it again; else "
    for name in _with_hard_sigmoid(config):
        raise ModelError(
            f"layer {name!r} has the activation hard_sigmoid of {wrote}. That of Keras 2 is "
            "max(0, min(1, 0.2 x + 0.5)), that of Keras 3 max(0, min(1, x / 6 + 0.5))",
            f"{again}build the network in model.source=module:function with "
            "keras.ops.clip(0.2 * x + 0.5, 0, 1), and load_weights there",
        )


def refuse_changed_in_archive(path: Path) -> None:
    """As `refuse_changed`, for a `.keras` file; one that is none is for Keras to refuse."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as file:
        config, about = (_member(file, f"{each}.json") for each in ("config", "metadata"))
    refuse_changed(config, about.get("keras_version") if isinstance(about, dict) else None)


def _member(file: zipfile.ZipFile, name: str) -> Any:
    """What is described in a member of an archive, or None where it has none that can be read."""
    try:
        return json.loads(file.read(name))
    except (KeyError, ValueError):
        return None


def _with_hard_sigmoid(config: Any, name: str = "") -> Iterator[str]:
    """The names of the layers in a description that have it as an activation."""
    if isinstance(config, list):
        for each in config:
            yield from _with_hard_sigmoid(each, name)
    if not isinstance(config, dict):
        return
    name = config.get("name", name) if isinstance(config.get("name"), str) else name
    for key, value in config.items():
        if key in ("activation", "recurrent_activation"):
            named = value.get("config") if isinstance(value, dict) else value
            if named == "hard_sigmoid":
                yield name
        yield from _with_hard_sigmoid(value, name)


def translate(config: Config) -> Config:
    """A layer's or model's description for Keras 3; nested models included.

    - `groups` is dropped where Keras 3 does not know it
    - a dtype policy becomes its name
    - `batch_input_shape` on a Sequential's first layer becomes an InputLayer
    - operators with a number become Rescaling layers
    """
    kind, inner = config.get("class_name"), config.get("config")
    if kind == "Sequential" and isinstance(inner, list):
        inner = {"name": "sequential", "layers": inner}
    if kind == "TFOpLambda":
        return _operator(config)
    if not isinstance(inner, dict):
        return config
    inner = dict(inner)
    if kind == "Sequential":
        inner["layers"] = _with_input(inner["layers"])
    if kind != "InputLayer":
        inner.pop("batch_input_shape", None)
    if kind in UNGROUPED:
        inner.pop("groups", None)
    if isinstance(inner.get("dtype"), dict) and inner["dtype"].get("class_name") == "Policy":
        inner["dtype"] = inner["dtype"]["config"]["name"]
    if isinstance(inner.get("layer"), dict):
        inner["layer"] = translate(inner["layer"])
    if isinstance(inner.get("layers"), list):
        inner["layers"] = [translate(layer) for layer in inner["layers"]]
    return {**config, "config": inner}


def _with_input(layers: list[Config]) -> list[Config]:
    shape = layers[0]["config"].get("batch_input_shape") if layers else None
    if shape is None or layers[0]["class_name"] == "InputLayer":
        return layers
    return [{"class_name": "InputLayer", "config": {"batch_shape": shape}}, *layers]


def _operator(config: Config) -> Config:
    """`x * 2.0` and the like; anything else stays, and Keras will name it as unknown."""
    options = SCALAR_OPERATIONS.get(config["config"]["function"])
    calls = config["inbound_nodes"]
    numbers = [call[3].get("y") if len(call) == 4 else None for call in calls]
    if options is None or not all(isinstance(y, int | float) and y for y in numbers):
        return config
    if len(set(numbers)) != 1:
        return config
    inner = {"name": config["config"]["name"].replace("/", "_"), **options(numbers[0])}
    nodes = [[[*call[:3], {}]] for call in calls]
    return {**config, "class_name": "Rescaling", "config": inner, "inbound_nodes": nodes}
