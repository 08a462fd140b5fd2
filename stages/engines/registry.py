"""The engines, by name. An engine is one file of this package and one row here."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import cast

from stages.engines.base import EngineModule


@dataclass(frozen=True)
class EngineRow:
    """Where an engine lives, which packages it needs and how its files end."""

    module: str
    packages: tuple[str, ...]
    suffix: str
    device: str


ENGINES: dict[str, EngineRow] = {
    "onnxruntime": EngineRow("stages.engines.onnxruntime", ("onnxruntime",), ".onnx", "cpu"),
    "litert": EngineRow("stages.engines.litert", ("ai-edge-litert",), ".tflite", "cpu"),
    "openvino": EngineRow("stages.engines.openvino", ("openvino",), ".openvino", "cpu"),
    "tensorrt": EngineRow("stages.engines.tensorrt.engine", ("tensorrt", "pycuda"), ".plan", "gpu"),
    "tensorrt_rtx": EngineRow(
        "stages.engines.tensorrt.rtx", ("tensorrt-rtx", "pycuda"), ".rtx", "gpu"
    ),
}


def load(backend: str) -> EngineModule:
    """Import the module of `backend`; its runtime is imported only when it is used."""
    return cast(EngineModule, importlib.import_module(ENGINES[backend].module))
