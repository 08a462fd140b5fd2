"""Run an engine of TensorRT 8.6, 10, 11 or TensorRT-RTX through the streams of cuda/stream.py.

As in network.py, the interface is the argument `trt`. All of them have had named
tensors and `execute_async_v3` since TensorRT 8.5.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from stages.artifacts.signature import Signature
from stages.engines.base import Engine, Images, Logits
from stages.engines.cuda.memory import Graph, free_memory, make_context_current
from stages.engines.cuda.stream import CudaStream, run_many
from stages.engines.tensorrt.network import deserialize
from stages.engines.tensorrt.profile import recorder
from stages.engines.tensorrt.runtime_cache import RuntimeCache
from stages.errors import EngineError
from stages.settings import Gpu


class Execution:
    """An opened engine with its buffers on the GPU, for one thread at a time, until `close`.

    `memory_mib` is what opening it took of the GPU's memory; running may take more.
    """

    def __init__(self, trt: Any, file: Path, signature: Signature, gpu: Gpu) -> None:
        """Raises EngineError; what was allocated until then is freed."""
        self._trt, self._file, self._signature, self._gpu = trt, file, signature, gpu
        self._streams: list[CudaStream] = []
        self._cache = RuntimeCache(file)
        self.engine: Any = None
        free_bytes, _ = free_memory()  # CUDA starts before TensorRT does: both use one context
        try:
            self.engine = deserialize(trt, file)
            self._check_tensors()
            self._stream(0)
            self.memory_mib = (free_bytes - free_memory()[0]) / (1 << 20)
        except BaseException:
            self.close()
            raise

    def run(self, images: Images) -> Logits:
        """Copy a batch to the GPU, run it, and copy what it returns back."""
        stream = self._stream(0)
        stream.submit(images)
        return stream.collect()

    def run_many(self, batches: Iterable[Images]) -> Iterator[Logits]:
        """The same for each of `batches`, in order; `gpu.streams` are in flight at a time."""
        return run_many(self._stream, batches, self._gpu.streams)

    @property
    def graph(self) -> Graph | None:
        """The CUDA graph of a call with the present batch size, from the second call on."""
        return self._stream(0).graph

    def time_parts(self, images: Images, calls: int) -> dict[str, float]:
        """Median milliseconds of the parts of a call: see CudaStream.time_parts."""
        return self._stream(0).time_parts(images, calls)

    def layer_milliseconds(self, images: Images, calls: int) -> dict[str, float]:
        """Median milliseconds of every layer by name, each call one by one, without a graph."""
        context = self._new_context()
        # A context and a stream apart: with a profiler no CUDA graph can be captured, and calls
        # that are timed elsewhere must keep theirs.
        record = recorder(self._trt)
        stream = self._new_stream(context, captures=False)
        try:
            stream.submit(images)  # the first call prepares
            stream.collect()
            context.profile_with(record)
            for _ in range(calls):
                stream.submit(images)
                stream.collect()
        finally:
            stream.close()
        found: dict[str, float] = record.medians()
        return found

    def output_shapes(self) -> dict[str, tuple[int, ...]]:
        """Of one image, by name; -1 is open."""
        names = self._signature.output_names
        return {name: tuple(self.engine.get_tensor_shape(name))[1:] for name in names}

    def close(self) -> None:
        """Give everything back, contexts and their memory before the engine."""
        try:
            if self._streams:  # else it was not opened: there is nothing whole to keep
                self._cache.keep()
        finally:
            self._free()

    def _free(self) -> None:
        try:
            while self._streams:
                self._streams.pop().close()
        finally:
            self.engine = None

    def _stream(self, index: int) -> CudaStream:
        """The stream with this number; it takes its memory when it is first used."""
        if index == len(self._streams):
            self._streams.append(self._new_stream(self._new_context()))
        return self._streams[index]

    def _new_context(self) -> Context:
        name = self._file.name
        return Context(self._trt, self.engine, name, self._signature, self._cache)

    def _new_stream(self, context: Context, captures: bool = True) -> CudaStream:
        return CudaStream(
            context,
            self._signature.batch_size or largest_batches(self.engine, self._signature)[-1],
            {own.input_name: (own.input_shape, own.dtype) for own in self._signature.each_input},
            {own.output_name: own.shape_of_output for own in self._signature.each},
            captures,
            self._gpu,
        )

    def _check_tensors(self) -> None:
        """Inputs and float32 outputs with the signature's names, or an EngineError."""
        names = map(self.engine.get_tensor_name, range(self.engine.num_io_tensors))
        found = {name: self.engine.get_tensor_dtype(name) for name in names}
        wanted = {
            **{own.input_name: getattr(self._trt, own.dtype) for own in self._signature.each_input},
            **dict.fromkeys(self._signature.output_names, self._trt.float32),
        }
        if found != wanted:
            raise EngineError(
                f"{self._file.name} has the tensors {found}, expected {wanted}",
                "run: pipeline run build --force",
            )


class GpuEngine(Engine):
    """An engine on the first GPU; `threads` has no meaning there."""

    _execution: Execution | None = None

    @staticmethod
    @abstractmethod
    def trt() -> Any:
        """The module `tensorrt` or `tensorrt_rtx`."""

    def time_parts(self, images: Images, calls: int) -> dict[str, float] | None:
        """Median milliseconds on the GPU and of queueing: see CudaStream.time_parts."""
        return self.execution.time_parts(self._checked(images), calls)

    def layer_milliseconds(self, images: Images, calls: int) -> dict[str, float] | None:
        """As TensorRT times them, call by call."""
        return self.execution.layer_milliseconds(self._checked(images), calls)

    @property
    def gpu_memory_mib(self) -> float | None:
        """What opening it took of the GPU's memory: weights, activations and buffers."""
        return self.execution.memory_mib

    @property
    def execution(self) -> Execution:
        """What runs it. Raises EngineError where it is not open."""
        if self._execution is None:
            raise EngineError(f"{self.file.name} is not open", "use it in a with statement")
        return self._execution

    def _open(self) -> None:
        self._close()
        self._execution = Execution(self.trt(), self.file, self.signature, self.gpu)
        self._expect_outputs(self._execution.output_shapes())

    def _infer(self, images: Images) -> Logits:
        make_context_current()  # in this thread, which need not be the one that opened it
        return self.execution.run(images)

    def _infer_many(self, batches: Iterable[Images]) -> Iterator[Logits]:
        make_context_current()
        return self.execution.run_many(batches)

    def _close(self) -> None:
        execution, self._execution = self._execution, None
        if execution is not None:
            make_context_current()
            execution.close()


class Context:
    """A trt.IExecutionContext as the computation of a CudaStream."""

    def __init__(
        self, trt: Any, engine: Any, name: str, signature: Signature, cache: RuntimeCache
    ) -> None:
        """Raises EngineError where the GPU has no room for it."""
        self.name, self._signature = name, signature
        self._largest, self._profile = largest_batches(engine, signature), 0
        self._context = create_context(trt, engine, cache)
        if self._context is None:
            raise EngineError(
                f"{trt.__name__} has no room on the GPU to run {name}",
                "end other programs on the GPU, or set a smaller build.max_batch_size",
            )

    def bind(self, sources: Mapping[str, int], targets: Mapping[str, int]) -> None:
        for name, address in {**sources, **targets}.items():
            self._context.set_tensor_address(name, address)

    def set_rows(self, rows: int, stream: int) -> None:
        # The first that is large enough: its kernels were chosen for batches of this size.
        profile = next(index for index, most in enumerate(self._largest) if rows <= most)
        if profile != self._profile:
            if not self._context.set_optimization_profile_async(profile, stream):
                raise EngineError(
                    f"{self.name}: TensorRT refuses the optimisation profile {profile}"
                )
            self._profile = profile
        for own in self._signature.each_input:
            shape = (rows, *own.input_shape)
            if not self._context.set_input_shape(own.input_name, shape):
                raise EngineError(
                    f"{self.name}: TensorRT refuses the shape {shape} of {own.input_name!r}"
                )

    def queue(self, stream: int) -> None:
        if not self._context.execute_async_v3(stream):
            raise EngineError(f"{self.name}: TensorRT could not queue a batch")

    def profile_with(self, recorder: Any) -> None:
        """Report the time of every layer to a trt.IProfiler from now on."""
        self._context.profiler = recorder

    def capture_blocker(self, stream: int) -> str:
        capturable = getattr(self._context, "is_stream_capturable", None)
        if capturable is None or capturable(stream):
            return ""
        return "TensorRT says that its layers cannot be captured"


def largest_batches(engine: Any, signature: Signature) -> list[int]:
    """The largest batch of every optimisation profile of `engine`, growing: of each input the same,
    as network.py makes them."""
    shapes = (
        engine.get_tensor_profile_shape(signature.input_names[0], index)
        for index in range(engine.num_optimization_profiles)
    )
    return [int(most[0]) for _, _, most in shapes]


def create_context(trt: Any, engine: Any, cache: RuntimeCache | None = None) -> Any:
    """trt.IExecutionContext, or None where the GPU has no room for it.

    TensorRT-RTX compiles kernels for a shape when it first meets it; it is made to do so at
    once, because a CUDA graph that is captured earlier would keep the slower ones. What it
    compiled before is in `cache`.
    """
    strategies = getattr(trt, "DynamicShapesKernelSpecializationStrategy", None)
    if strategies is None:
        return engine.create_execution_context()
    config = engine.create_runtime_config()
    config.dynamic_shapes_kernel_specialization_strategy = strategies.EAGER
    if cache is not None:
        cache.use_in(config)
    return engine.create_execution_context(config)
