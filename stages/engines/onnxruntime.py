"""ONNX Runtime on the CPU.

The build does the optimisations that hold on every CPU (folding, fusing, INT8 kernels for
Q/DQ pairs) and keeps the result as the engine file. Opening adds what depends on the CPU at
hand (the blocked NCHWc layout), which takes a few milliseconds: written into the file it would
be no faster, and wrong on a CPU with other vector registers.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from stages.engines import amx
from stages.engines.base import Batch, Blocker, BuildRequest, Engine
from stages.errors import EngineError
from stages.settings import Precision
from stages.signature import Signature

SOURCES: dict[Precision, str] = {"fp32": "model.fp32.onnx", "int8": "model.int8.cpu.onnx"}
"""The CPU has no FP16 arithmetic in ONNX Runtime: such a graph is computed in float32."""

WRONG_FUSIONS = ["Pad_Fusion"]
"""Zero padding before a MaxPool becomes the MaxPool's own, which pads with minus infinity:
ResNet50V2 is then wrong by 1e-3 (seen in ONNX Runtime 1.31)."""

ERRORS_ONLY = 3


def build_blocker() -> Blocker | None:
    """The package is all it needs."""
    if importlib.util.find_spec("onnxruntime") is None:
        return Blocker("the package onnxruntime is not installed", "pip install onnxruntime")
    return None


def run_blocker() -> Blocker | None:
    """What is built here also runs here."""
    return build_blocker()


def source_file(precision: Precision) -> str | None:
    """The convert stage's file for `precision`; None where there is no such engine."""
    return SOURCES.get(precision)


def build(source: Path, out: Path, request: BuildRequest) -> None:
    """Optimise the ONNX graph `source` and write it to `out`. Raises EngineError."""
    _session(source, 1, "ORT_ENABLE_EXTENDED", str(out))


class Runner(Engine):
    """A session with a fixed number of threads.

    `run` takes and returns NumPy arrays: I/O binding costs more than it saves on nets that
    take microseconds (32 us against 3 us a call).
    """

    _session: Any = None

    def _open(self) -> None:
        self._session = _session(self.file, self.threads)
        self._outputs = [self.signature.output_name]

    def _infer(self, images: Batch) -> Batch:
        logits: Batch = self._session.run(self._outputs, {self.signature.input_name: images})[0]
        return logits

    def _close(self) -> None:
        self._session = None


def _session(
    file: Path, threads: int, level: str = "ORT_ENABLE_ALL", optimised_file: str = ""
) -> Any:
    with amx.refused():
        import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = ERRORS_ONLY
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.optimized_model_filepath = optimised_file
    try:
        return onnxruntime.InferenceSession(
            str(file),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=WRONG_FUSIONS,
        )
    except Exception as error:  # its error classes have no base but Exception
        raise EngineError(
            f"ONNX Runtime cannot load {file.name}: {error}", "run: pipeline run build --force"
        ) from error


def interpret(file: Path, signature: Signature, images: Batch) -> Batch:
    """Logits of the graph as it is written, node by node, nothing fused.

    This is how graphs for other engines are checked: optimised, ONNX Runtime 1.31 computes
    an FP16 graph with Q/DQ pairs wrongly, by half of the largest logit.
    """
    session = _session(file, 0, "ORT_DISABLE_ALL")
    logits: Batch = session.run([signature.output_name], {signature.input_name: images})[0]
    return logits
