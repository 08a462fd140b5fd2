"""LiteRT's interpreter, and its time in a process of its own, which imports this and no more.

Importing the settings and types of results, as an engine does, would take twice as long.
"""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from stages.engines import amx
from stages.errors import EngineError


def allocated(file: Path, threads: int, without_amx: bool, **options: bool) -> Any:
    """An interpreter of `file` with its tensors. Raises EngineError."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        with amx.without_amx() if without_amx else nullcontext():
            interpreter = Interpreter(model_path=str(file), num_threads=threads, **options)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise EngineError(
            f"LiteRT cannot load {file.name}: {error}", "run: pipeline run build --force"
        ) from error
    return interpreter


def print_latency(file: str, amx_use: str, seconds: float) -> None:
    """In a child: time the interpreter alone, on an input of zeros. Values do not matter."""
    try:
        interpreter = allocated(Path(file), 1, without_amx=amx_use == "without")
    except EngineError as error:
        sys.exit(error.message)
    milliseconds, end = list[float](), time.perf_counter() + seconds
    while not milliseconds or time.perf_counter() < end:
        start = time.perf_counter_ns()
        interpreter.invoke()
        milliseconds.append((time.perf_counter_ns() - start) / 1e6)
    # The first half has warmed up caches and clock.
    sys.stdout.write(f"{np.median(milliseconds[len(milliseconds) // 2 :])}\n")
