"""What the GPU can do at most: the arithmetic of its tensor cores, and its memory.

The arithmetic is that of large convolutions as engines of the runtimes themselves, queued back to
back between two events, so that neither copies nor waiting is part of it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

from stages.engines import modules
from stages.engines.base import BuildRequest
from stages.engines.cuda.timing import copied_bytes_per_second
from stages.engines.layers import is_wider
from stages.engines.registry import ENGINES, EngineName, Precision
from stages.errors import EngineError
from stages.measurement.convolutions import Size, Types, graph
from stages.results.engines import Bandwidth, EngineRecord, Peak

SIZE = Size(batch=64, side=8, channels=1024, layers=4)
"""Tiles for every multiprocessor of the largest GPUs, and so many channels that reading and writing
takes little beside the arithmetic; about 0.2 s a call in float32 on the smallest."""
GRAPHS: Mapping[str, Types] = {
    "model.fp32.onnx": Types("FLOAT"),
    "model.fp16.onnx": Types("FLOAT16"),
    "model.bf16.onnx": Types("BFLOAT16"),
    "model.int8.tensorrt.onnx": Types("FLOAT16", "INT8"),
    "model.int8.tensorrt8.onnx": Types("FLOAT", "INT8"),
    "model.fp8.onnx": Types("FLOAT16", "FLOAT8E4M3FN"),
}
"""By the names of what `convert` writes, with the same types."""
CALLS, COPIES = 8, 10
"""In one timing."""
COPIED_BYTES = (1 << 26, 1 << 28)
"""Read and written. Smaller ones would be those of the start of a copy."""


def arithmetic(engines: Sequence[EngineRecord], threads: int) -> Iterator[Peak]:
    """The peaks of those of `engines` that ran on the GPU, by runtime and precision.

    A convolution that cannot be built, or that does not compute in its precision, claims no peak.
    `threads` are those of the engines' rows, which mean nothing there.
    """
    ran = [each for each in engines if _is_of_gpu(each)]
    for name in sorted({each.name for each in ran}):
        try:
            per_second = _multiply_adds_per_second(name)
        except EngineError:
            continue
        if per_second:
            yield Peak(
                precision=name.precision,
                threads=threads,
                kernel=name.backend,
                has_amx=False,
                multiply_adds_per_second=per_second,
                engines=tuple(str(each.name) for each in ran if each.precision == name.precision),
            )


def memory(engines: Sequence[EngineRecord], threads: int) -> Iterator[Bandwidth]:
    """Bytes per second of copies within the memory of the GPU, where an engine ran on it.

    Raises EngineError.
    """
    if any(map(_is_of_gpu, engines)):
        for moved in COPIED_BYTES:
            yield Bandwidth(
                device="gpu",
                threads=threads,
                moved_bytes=moved,
                bytes_per_second=copied_bytes_per_second(moved, COPIES),
            )


def write_graphs(engine: EngineName, folder: Path) -> Path:
    """What `engine` is built from on this machine. Raises EngineError where it has none."""
    source = modules.source_file(engine)
    # TensorRT 8.6 is built from one, and reads off the other what must stay float32.
    for file in {source, ENGINES[engine.backend].sources[cast(Precision, engine.precision)]}:
        (folder / file).write_bytes(graph(GRAPHS[file], SIZE).SerializeToString())
    return folder / source


def _is_of_gpu(engine: EngineRecord) -> bool:
    return engine.state == "ran" and ENGINES[engine.backend].device == "gpu"


def _multiply_adds_per_second(engine: EngineName) -> float | None:
    """None where the kernels that were chosen are of a wider type. Raises EngineError."""
    module, signature = modules.load(engine.backend), SIZE.signature
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        out = folder / "peak.engine"
        request = BuildRequest(signature, cast(Precision, engine.precision), SIZE.batch)
        report = module.build(write_graphs(engine, folder), out, request)
        if report and any(map(is_wider, report.layers)):
            return None
        with module.Runner(out, signature) as running:
            parts = running.time_parts(signature.noise(SIZE.batch), CALLS)
    return 1000.0 * SIZE.multiply_adds / parts["compute_ms"] if parts else None
