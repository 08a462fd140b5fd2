"""Latency of candidate networks, measured on the engine that will run the result."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import keras
import numpy as np
import onnx

from stages import progress
from stages.artifacts.ranges import Range, covering
from stages.artifacts.signature import Fed, Signature, some
from stages.conversion.litert import write_float, write_int8
from stages.conversion.onnx.float16 import to_float16
from stages.conversion.onnx.preprocessing import prepend_preprocessing
from stages.conversion.onnx.targets import float_graph, int8_graph
from stages.engines.registry import EngineName, Target
from stages.errors import EngineError
from stages.keras_graph.fold import fold
from stages.keras_graph.placement import Point, points
from stages.keras_graph.walk import alone
from stages.measurement import engine_process
from stages.measurement.alone import WAITS, alone_on_machine
from stages.measurement.engine_process import EngineProcess
from stages.settings import Build, TensorRT

CALIBRATION_IMAGES = 64
"""A few suffice: latency depends on no more than the order of magnitude of the ranges."""


class Stopwatch:
    """Compares candidates with `reference` on the engine `target`, as in "litert.int8".

    A context manager: the reference stays open, in a process of its own. INT8 candidates are
    calibrated on `images` and not trained; all take what engines take by default. `build`
    and `tensorrt` are how TensorRT is to build them. Raises EngineError where the engine is not
    available.
    """

    def __init__(
        self,
        target: str,
        reference: keras.Model,
        signature: Signature,
        images: Fed,
        batch_size: int = 1,
        build: Build | None = None,
        tensorrt: TensorRT | None = None,
    ) -> None:
        self._engine = EngineName.parse(target)
        self._file = engine_process.require(self._engine)
        self._model, self._images = reference, images
        self._signature = signature.fed_as("uint8")
        self._built = (batch_size, build, tensorrt)
        self.reference_ms = 0.0

    def __enter__(self) -> Stopwatch:
        with ExitStack() as opened:
            self._folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
            self._signature.write(self._folder)
            graph = self._written(self._model, opened)
            with alone_on_machine(partial(progress.report, WAITS)):
                self._reference = self._started(graph, opened)
            self._opened = opened.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._opened.close()

    def ratios(self, candidates: Sequence[keras.Model]) -> list[float]:
        """Latency of every candidate as a share of the reference's."""
        with ExitStack() as opened:
            graphs = [self._written(model, opened) for model in candidates]
            with alone_on_machine(partial(progress.report, WAITS)):
                started = [self._started(graph, opened) for graph in graphs]
                self.reference_ms, found = engine_process.compare(self._reference, started)
        return found

    def _written(self, model: keras.Model, opened: ExitStack) -> Path:
        # A file that an earlier model left there would be built in place of this one's.
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(dir=self._folder)))
        write_graph(model, folder / self._file, self._signature, self._images)
        return folder / self._file

    def _started(self, graph: Path, opened: ExitStack) -> EngineProcess:
        engine = EngineProcess(self._engine, graph, self._folder, *self._built)
        opened.enter_context(engine)
        # One after the other, and alone: building LiteRT's engine is itself a
        # measurement, of forms and of AMX.
        engine.wait()
        return engine


def write_graph(model: keras.Model, file: Path, signature: Signature, images: Fed) -> None:
    """Write `model` as the file of the convert stage that has this name, calibrated only.

    Raises ConversionError, and EngineError for a name that is not known.
    """
    if file.name not in _WRITERS:
        raise EngineError(
            f"engines of {file.name} cannot be timed while pruning", "choose another prune.target"
        )
    _WRITERS[file.name](fold(model), file, signature, images)


def _write_float(folded: keras.Model, file: Path, signature: Signature, _: Fed) -> None:
    onnx.save(prepend_preprocessing(float_graph(folded, signature), signature), file)


def _write_half(folded: keras.Model, file: Path, signature: Signature, _: Fed) -> None:
    onnx.save(prepend_preprocessing(to_float16(float_graph(folded, signature)), signature), file)


def _int8_writer(target: Target, half: bool = False) -> Callable[..., None]:
    def write(folded: keras.Model, file: Path, signature: Signature, images: Fed) -> None:
        placed = points(folded, signature)
        graph = int8_graph(folded, placed, _ranges(folded, placed, images), signature, target)
        onnx.save(prepend_preprocessing(to_float16(graph) if half else graph, signature), file)

    return write


def _write_litert_float(folded: keras.Model, file: Path, signature: Signature, _: Fed) -> None:
    write_float(file, folded, signature)


def _write_litert(folded: keras.Model, file: Path, signature: Signature, images: Fed) -> None:
    placed = points(folded, signature)
    write_int8(file, folded, placed, _ranges(folded, placed, images), signature)


def _ranges(folded: keras.Model, placed: Mapping[str, Point], images: Fed) -> dict[str, Range]:
    """The range of every quantized tensor on `images`."""
    tensors = keras.Model(alone(folded.inputs), [point.tensor for point in placed.values()])
    few = some(images, slice(CALIBRATION_IMAGES))
    values = keras.tree.flatten(tensors(few, training=False))
    return {name: covering(np.asarray(seen)) for name, seen in zip(placed, values, strict=True)}


_WRITERS: dict[str, Callable[..., Any]] = {
    "model.fp32.onnx": _write_float,
    "model.fp16.onnx": _write_half,
    "model.int8.cpu.onnx": _int8_writer("cpu"),
    "model.int8.tensorrt8.onnx": _int8_writer("tensorrt"),
    "model.int8.tensorrt.onnx": _int8_writer("tensorrt", half=True),
    "model.fp32.tflite": _write_litert_float,
    "model.int8.tflite": _write_litert,
}
