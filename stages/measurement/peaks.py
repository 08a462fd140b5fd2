"""What this CPU can do at most: the arithmetic of its widest instructions, and its memory.

The arithmetic is that of a large convolution, nearly all of whose time is multiply-adds, in the
runtimes themselves: ONNX Runtime, which never takes AMX here, and where there is AMX also OpenVINO,
which always does (see stages/engines/amx.py). The fastest call counts, as in STREAM: whatever
else the machine did can only have made a call slower.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from stages.artifacts.signature import Signature
from stages.engines import amx, onnxruntime, openvino
from stages.engines.base import Engine
from stages.engines.registry import ENGINES, Precision
from stages.errors import EngineError
from stages.measurement import clock
from stages.measurement.throughput import usable_cores
from stages.results.engines import Bandwidth, EngineRecord, Peak

if TYPE_CHECKING:
    import onnx

SIDE, CHANNELS, KERNEL, LAYERS = 16, 128, 3, 8
"""Of the convolutions. Kernels and images stay in the cache of a core, and every instruction set
has whole vectors and tiles of channels."""
MULTIPLY_ADDS = LAYERS * SIDE**2 * CHANNELS**2 * KERNEL**2
SECONDS = 0.1
"""For each kernel and number of threads, at most."""
COPY_SECONDS = 0.02
COPIED_BYTES = tuple(1 << power for power in (15, 20, 24, 26))
"""Read and written, by all threads together: in the caches of a core, and beyond."""
LEAST = 4096
"""Bytes that a thread copies at once: fewer take hardly longer than going on to the next copy."""
PER_ROUND = COPIED_BYTES[-1]
"""Read and written by each thread between two meetings of all, which take little beside it."""
LINE = 64
"""Bytes of a cache line."""
GRID = ("scale", "zero_point")
"""Constants that quantize every activation of the convolutions."""


def arithmetic(
    engines: Sequence[EngineRecord], folder: Path, threads: Iterable[int], seconds: float = SECONDS
) -> list[Peak]:
    """The peaks of those of `engines` that run on the CPU, for each number of threads.

    Run it after everything else is timed: OpenVINO takes AMX for the whole process. An engine
    whose instructions no kernel here uses has no peak.
    """
    found = [
        Peak(
            precision=precision,
            threads=count,
            kernel=backend,
            has_amx=_takes_amx(backend, precision),
            multiply_adds_per_second=per_second,
            engines=tuple(
                str(each.name)
                for each in engines
                if each.file
                and ENGINES[each.backend].device == "cpu"
                and each.precision == precision
                and _uses_amx(each, folder) == _takes_amx(backend, precision)
            ),
        )
        for count in threads
        for backend, precision, per_second in _kernels(count, seconds)
    ]
    return [each for each in found if each.engines]


def _takes_amx(backend: str, precision: str) -> bool:
    return backend != "onnxruntime" and precision == "int8" and amx.is_available()


def _uses_amx(engine: EngineRecord, folder: Path) -> bool:
    takes = _takes_amx(engine.backend, engine.precision)
    return takes and not amx.is_unwanted(folder / str(engine.file))


def _kernels(threads: int, seconds: float) -> Iterator[tuple[str, Precision, float]]:
    """Runtime, precision and multiply-adds per second of the kernels that run here."""
    if onnxruntime.build_blocker() is not None:
        return
    wanted: list[tuple[str, Precision]] = [("onnxruntime", "fp32"), ("onnxruntime", "int8")]
    if amx.is_available() and openvino.run_blocker() is None:
        wanted.append(("openvino", "int8"))
    with tempfile.TemporaryDirectory() as folder:
        for backend, precision in wanted:
            try:
                engine = _engine(backend, precision, Path(folder), threads)
                with engine:
                    yield backend, precision, _per_second(engine, seconds)
            except EngineError:
                continue  # A peak that cannot be measured is not claimed.


def _engine(backend: str, precision: Precision, folder: Path, threads: int) -> Engine:
    """Raises EngineError."""
    signature = Signature(
        (SIDE, SIDE, CHANNELS),
        tuple(map(str, range(CHANNELS))),
        scale=1.0,
        offset=0.0,
        dtype="uint8",
        batch_size=1,
    )
    source = folder / f"{precision}.onnx"
    source.write_bytes(convolutions(precision).SerializeToString())
    if backend == "onnxruntime":
        return onnxruntime.Runner(source, signature, threads)
    file = source.with_suffix(".openvino")
    openvino.write(source, file)
    return openvino.Runner(file, signature, threads)


def _per_second(engine: Engine, seconds: float) -> float:
    images = engine.signature.noise(1)
    taken = clock.measure({"call": partial(engine.infer, images)}, seconds / 4, seconds)["call"]
    return 1000.0 * MULTIPLY_ADDS / float(taken.min())


def convolutions(precision: Precision) -> onnx.ModelProto:
    """LAYERS convolutions with ReLU, then the mean of every channel: uint8 images
    (1, SIDE, SIDE, CHANNELS) -> float32 (1, CHANNELS). In "int8" between Q/DQ pairs.
    """
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(0)
    shape = (CHANNELS, CHANNELS, KERNEL, KERNEL)
    constants: dict[str, Any] = {
        "kernel": random.integers(-127, 128, shape, np.int8),
        # Of He et al. 2015, so that values neither die out, which would be slow, nor overflow.
        "kernel_scale": np.float32((2 / CHANNELS / KERNEL**2) ** 0.5 / (127 / 3**0.5)),
        "zero": np.int8(0),
        "scale": np.float32(1.0),
        "zero_point": np.uint8(0),
    }
    nodes = [helper.make_node("Transpose", ["image"], ["x"], perm=(0, 3, 1, 2))]
    if precision == "fp32":
        constants["kernel"] = constants["kernel"].astype(np.float32) * constants["kernel_scale"]
        nodes.append(helper.make_node("Cast", ["x"], ["y0"], to=TensorProto.FLOAT))
    else:
        nodes.append(helper.make_node("DequantizeLinear", ["x", *GRID], ["y0"]))
    for number in range(LAYERS):
        nodes += _layer(number, precision)
    nodes.append(helper.make_node("GlobalAveragePool", [f"y{LAYERS}"], ["mean"]))
    nodes.append(helper.make_node("Flatten", ["mean"], ["logits"]))
    graph = helper.make_graph(
        nodes,
        "peak",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, (1, SIDE, SIDE, CHANNELS))],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, (1, CHANNELS))],
        [numpy_helper.from_array(np.asarray(each), name) for name, each in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


def _layer(number: int, precision: Precision) -> list[onnx.NodeProto]:
    """One convolution with ReLU, from y<number> to y<number + 1>."""
    from onnx import helper

    before, after, conv = f"y{number}", f"y{number + 1}", f"c{number}"
    if precision == "fp32":
        return [
            helper.make_node("Conv", [before, "kernel"], [conv], pads=(1, 1, 1, 1)),
            helper.make_node("Relu", [conv], [after]),
        ]
    kernel, relu, stored = f"kernel{number}", f"r{number}", f"q{number}"
    return [
        helper.make_node("DequantizeLinear", ["kernel", "kernel_scale", "zero"], [kernel]),
        helper.make_node("Conv", [before, kernel], [conv], pads=(1, 1, 1, 1)),
        helper.make_node("Relu", [conv], [relu]),
        helper.make_node("QuantizeLinear", [relu, *GRID], [stored]),
        helper.make_node("DequantizeLinear", [stored, *GRID], [after]),
    ]


def memory(threads: Iterable[int], seconds: float = COPY_SECONDS) -> list[Bandwidth]:
    """Bytes per second of copies of each size of COPIED_BYTES, for each number of threads.

    More threads than cores have none, nor have sizes of which a thread's share is below LEAST.
    """
    return [
        Bandwidth(threads=count, moved_bytes=moved, bytes_per_second=_copied(moved, count, seconds))
        for count in threads
        for moved in COPIED_BYTES
        if count <= usable_cores() and moved // 2 // count >= LEAST
    ]


def _copied(moved_bytes: int, threads: int, seconds: float) -> float:
    """What all threads moved in the best round, each its share, by the time from the first to the
    last of them.
    """
    length = moved_bytes // 2 // threads
    copies = PER_ROUND // (2 * length)
    calls = [partial(np.copyto, *_shifted(length, copies)) for _ in range(threads)]
    best_ms = float(clock.rounds(calls, seconds).min())
    return 1000.0 * threads * copies * 2 * length / best_ms


def _shifted(length: int, copies: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Where to and where from, each (copies, length): every row a cache line after the last.

    So one call copies many times and asks for Python's lock once. A copy meets all bytes of the one
    before it but a cache line: what was in a cache is there still.
    """
    size = length + LINE * (copies - 1)
    target, source = (np.full(size, value, np.uint8) for value in (0, 1))
    shape, strides = (copies, length), (LINE, 1)
    return as_strided(target, shape, strides), as_strided(source, shape, strides)
