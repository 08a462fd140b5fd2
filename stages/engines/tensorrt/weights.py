"""The weights of a stripped engine: the ONNX graph that it was built from, in a file beside it.

Such a plan holds kernels and shapes alone: of use where one machine keeps plans for many kinds of
GPU, and the graph once.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from stages.errors import EngineError


def beside(engine: Path) -> Path:
    """The file with the weights of the file `engine`."""
    return engine.with_name(f"{engine.name}.weights.onnx")


def keep(source: Path, engine: Path) -> str:
    """Put the graph `source` beside the stripped `engine`; returns a remark on their sizes."""
    file = beside(engine)
    shutil.copyfile(source, file)
    return (
        f"its plan of {engine.stat().st_size:,} bytes holds no weights: they are read from "
        f"{file.name}, {file.stat().st_size:,} bytes, when it is opened"
    )


def refit(trt: Any, engine: Any, file: Path, log: Any) -> None:
    """Give the trt.ICudaEngine of the stripped `file` its weights. Raises EngineError."""
    # Not at the top: the report, which has no NumPy, asks for `beside`.
    from stages.engines.tensorrt.logger import said

    graph = beside(file)
    try:
        content = graph.read_bytes()
    except OSError as error:
        raise EngineError(
            f"{file.name} holds no weights, and {graph.name} cannot be read: {error.strerror}",
            "copy it along, or run: pipeline run build --force",
        ) from error
    refitter = trt.Refitter(engine, log)
    parser = trt.OnnxParserRefitter(refitter, log)
    if not (parser.refit_from_bytes(content) and refitter.refit_cuda_engine()):
        raise EngineError(
            f"{trt.__name__} cannot give {file.name} the weights of {graph.name}: {said(log)}",
            "run: pipeline run build --force",
        )
