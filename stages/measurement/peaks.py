"""What this CPU can do at most: the arithmetic of its widest instructions, and its memory.

The arithmetic is that of a large convolution, nearly all of whose time is multiply-adds, in the
runtimes themselves: ONNX Runtime, which never takes AMX here, and where there is AMX also OpenVINO,
which always does (see stages/engines/amx.py). The fastest call counts, as in STREAM: whatever
else the machine did can only have made a call slower.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from stages.engines import amx, onnxruntime, openvino
from stages.engines.base import Engine
from stages.engines.registry import ENGINES, Precision
from stages.errors import EngineError
from stages.measurement import clock
from stages.measurement.convolutions import Size, Types, graph
from stages.measurement.throughput import usable_cores
from stages.results.engines import Bandwidth, EngineRecord, Peak

SIZE = Size(batch=1, side=16, channels=128, layers=8)
"""Kernels and images stay in the cache of a core, and every instruction set has whole vectors and
tiles of channels."""
TYPES: Mapping[Precision, Types] = {"fp32": Types("FLOAT"), "int8": Types("FLOAT", "UINT8")}
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
    source = folder / f"{precision}.onnx"
    source.write_bytes(graph(TYPES[precision], SIZE).SerializeToString())
    if backend == "onnxruntime":
        return onnxruntime.Runner(source, SIZE.signature, threads)
    file = source.with_suffix(".openvino")
    openvino.write(source, file)
    return openvino.Runner(file, SIZE.signature, threads)


def _per_second(engine: Engine, seconds: float) -> float:
    images = engine.signature.noise(1)
    taken = clock.measure({"call": partial(engine.infer, images)}, seconds / 4, seconds)["call"]
    return 1000.0 * SIZE.multiply_adds / float(taken.min())


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
