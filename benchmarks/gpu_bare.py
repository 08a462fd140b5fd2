"""What an engine on a GPU is measured against: bare replays of CUDA graphs, and trtexec."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from stages.artifacts.signature import Signature
from stages.engines.cuda.memory import DRIVER_LIBRARY, CudaMemory
from stages.errors import EngineError
from stages.measurement import clock

REPLAY = Path(__file__).with_name("gpu_replay.cpp")


def empty_graph_ms(calls: int) -> float:
    """Median of launching a CUDA graph without any work and waiting for it: no call is faster."""
    with closing(CudaMemory()) as memory, closing(memory.capture(lambda: None)) as graph:

        def call() -> None:
            graph.launch()
            memory.synchronize()

        return float(np.median([clock.once(call)[1] for _ in range(calls)]))


def cpp_replay_ms(graph: Any, calls: int) -> float | None:
    """Median of launching `graph` and waiting for it in a loop of C++: no Python is faster.

    None where there is no compiler. Raises EngineError.
    """
    compiler = next(filter(None, map(shutil.which, ("g++", "c++", "nvcc"))), None)
    if compiler is None:
        return None
    options = ["-Xcompiler", "-fPIC"] if Path(compiler).name == "nvcc" else ["-fPIC"]
    driver = ctypes.CDLL(DRIVER_LIBRARY)
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "replay.so"
        words = [compiler, "-O2", "-shared", *options, "-o", library, REPLAY]
        subprocess.run(words, check=True, capture_output=True)
        loop = ctypes.CDLL(str(library)).replay
    taken = np.zeros(calls)
    handles = (driver.cuGraphLaunch, driver.cuStreamSynchronize)
    code = loop(
        *(ctypes.cast(handle, ctypes.c_void_p) for handle in handles),
        *(graph.executable, graph.stream, calls),
        taken.ctypes.data_as(ctypes.c_void_p),
    )
    if code:
        raise EngineError(f"CUDA reports error {code}")
    return float(np.median(taken))


def trtexec(file: Path, signature: Signature, batch: int, seconds: float) -> dict[str, Any]:
    """Medians that trtexec prints for the same engine file; nothing where it is missing."""
    name = {".plan": "trtexec", ".rtx": "tensorrt_rtx"}[file.suffix]
    program = shutil.which(name)
    if program is None:
        return {}
    shapes = {
        own.input_name: "x".join(map(str, (batch, *own.input_shape)))
        for own in signature.each_input
    }
    words = (
        f"--loadEngine={file}",
        "--shapes=" + ",".join(f"{name}:{shape}" for name, shape in shapes.items()),
        "--useCudaGraph",
        f"--duration={max(1, round(seconds))}",
    )
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    return read_trtexec(done.stdout)


def read_trtexec(text: str) -> dict[str, float]:
    """The medians in the summary of trtexec."""
    wanted = {"Latency": "trtexec_p50_ms", "GPU Compute Time": "trtexec_compute_ms"}
    found = {
        key: re.search(rf"\] {name}: .*?median = ([\d.]+) ms", text) for name, key in wanted.items()
    }
    return {key: float(match[1]) for key, match in found.items() if match}
