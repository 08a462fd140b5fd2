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
INPUTS = BUNDLE["inputs"] or [BUNDLE["input"]]
OUTPUTS = BUNDLE["outputs"] or [BUNDLE["output"]]
ENGINE = BUNDLE["engine"]


class TritonPythonModel:
    """One for each instance, in a process of its own."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the engine with the threads that it was chosen with."""
        names = ([info["name"] for info in each] for each in (INPUTS, OUTPUTS))
        self.network = Network(FOLDER / ENGINE["file"], ENGINE["threads"], *names)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer all that Triton has gathered, with one call of the network."""
        batches = [arrays(request) for request in requests]
        faults = [fault(batch) for batch in batches]
        fit = [batch for batch, reason in zip(batches, faults, strict=True) if not reason]
        outputs = iter(self.answers(fit) if fit else [])
        return [refusal(reason) if reason else next(outputs) for reason in faults]

    def answers(self, batches: list[list[NDArray[Any]]]) -> list[Any]:
        """A response to each of `batches`."""
        found = self.network([np.concatenate(each) for each in zip(*batches, strict=True)])
        ends = np.cumsum([len(batch[0]) for batch in batches])[:-1]
        parts = (np.split(outputs, ends) for outputs in found)
        return [response(list(each)) for each in zip(*parts, strict=True)]


def arrays(request: Any) -> list[NDArray[Any]]:
    """What one request gives to each input, (N, ...)."""
    # By DLPack, here and in `response`: a server made for NumPy 1 hands NumPy 2 arrays without
    # strides, and takes none of its values.
    given = (triton.get_input_tensor_by_name(request, info["name"]) for info in INPUTS)
    return [np.from_dlpack(each) for each in given]


def fault(batch: list[NDArray[Any]]) -> str:
    """Why a batch is not run: INT8 engines would round what is no number to one."""
    is_finite = all(np.isfinite(each).all() for each in batch)
    return "" if is_finite else "the values hold NaN or infinity"


def response(outputs: list[NDArray[np.float32]]) -> Any:
    pairs = zip(OUTPUTS, outputs, strict=True)
    return triton.InferenceResponse([triton.Tensor.from_dlpack(i["name"], o) for i, o in pairs])


def refusal(reason: str) -> Any:
    return triton.InferenceResponse(error=triton.TritonError(reason))
