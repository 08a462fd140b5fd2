"""The network in this folder as a model of NVIDIA Triton's Python backend.

The server's Python needs what requirements.txt lists, or finds it in a folder beside this file:

    pip install --target packages --requirement requirements.txt
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as triton
from numpy.typing import NDArray

from pipeline.bundle.programs.litert import Network

FOLDER = Path(__file__).resolve().parent
BUNDLE = json.loads((FOLDER / "bundle.json").read_text(encoding="utf-8"))
INPUT, OUTPUT, ENGINE = BUNDLE["input"], BUNDLE["output"], BUNDLE["engine"]


class TritonPythonModel:
    """One for each instance, in a process of its own."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the engine with the threads that it was chosen with."""
        self.network = Network(FOLDER / ENGINE["file"], ENGINE["threads"])

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer all that Triton has gathered, with one call of the network."""
        batches = [images(request) for request in requests]
        faults = [fault(batch) for batch in batches]
        fit = [batch for batch, reason in zip(batches, faults, strict=True) if not reason]
        outputs = iter(split(self.network(np.concatenate(fit)), fit) if fit else [])
        return [refusal(reason) if reason else answer(next(outputs)) for reason in faults]


def images(request: Any) -> NDArray[Any]:
    """The images of one request, (N, HEIGHT, WIDTH, CHANNELS)."""
    # By DLPack, here and in `answer`: a server made for NumPy 1 hands NumPy 2 arrays without
    # strides, and takes none of its values.
    batch: NDArray[Any] = np.from_dlpack(triton.get_input_tensor_by_name(request, INPUT["name"]))
    return batch


def fault(batch: NDArray[Any]) -> str:
    """Why a batch is not run: INT8 engines would round what is no number to one."""
    return "" if np.isfinite(batch).all() else "the images hold NaN or infinity"


def split(outputs: NDArray[np.float32], batches: list[NDArray[Any]]) -> list[NDArray[np.float32]]:
    """The outputs that belong to each of `batches`."""
    return np.split(outputs, np.cumsum([len(batch) for batch in batches])[:-1])


def answer(outputs: NDArray[np.float32]) -> Any:
    return triton.InferenceResponse([triton.Tensor.from_dlpack(OUTPUT["name"], outputs)])


def refusal(reason: str) -> Any:
    return triton.InferenceResponse(error=triton.TritonError(reason))
