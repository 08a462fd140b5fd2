"""Translate `.h5` files of Keras 2 for Keras 3.

Keras 3 reads most of them. What it stumbles over is translated in the description of the model;
the weights stay as they are.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import h5py

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

    Raises OSError if it is no HDF5 file.
    """
    with h5py.File(path) as file:
        written = file.attrs.get("model_config")
    if written is None:
        return path
    config = json.loads(written)
    modern = translate(config)
    if modern == config:
        return path
    copy = folder / path.name
    shutil.copyfile(path, copy)
    with h5py.File(copy, "r+") as file:
        file.attrs["model_config"] = json.dumps(modern)
    return copy


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
