"""Memory on the GPU, page-locked memory beside it, and the stream that copies between them.

The one module that imports PyCUDA. It uses the GPU's primary context, the one that TensorRT
takes by itself, so that both see the same memory. PyCUDA 2026.1 has no CUDA graphs: the five
calls that they take go to the driver directly.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from stages.engines.base import Blocker
from stages.errors import EngineError
from stages.errors.packages import install
from stages.settings.deployment import Wait

DRIVER_LIBRARY = "libcuda.so.1"
THREAD_LOCAL_CAPTURE = 1
"""CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: what other threads do is neither recorded nor an error."""
SUCCESS = 0


def gpu_blocker() -> Blocker | None:
    """Why no GPU can be used here, if so; loads the driver's library but does not start it."""
    try:
        ctypes.CDLL(DRIVER_LIBRARY)
    except OSError:
        return Blocker(
            f"no GPU: NVIDIA's driver library {DRIVER_LIBRARY} is not on this machine",
            "on a machine with an NVIDIA GPU run: pipeline run build benchmark",
        )
    return None


@dataclass(frozen=True, eq=False)
class Buffer:
    """The same array twice: `host` in page-locked memory, and for the GPU at `address`.

    Where it is mapped both are the same memory.
    """

    host: NDArray[Any]
    device: Any
    is_mapped: bool = False

    @property
    def address(self) -> int:
        """Where the GPU finds it."""
        return int(self.device)


class Graph:
    """Captured work of a stream, to be queued again with one call, until `close`.

    `stream` and `executable` are the driver's handles.
    """

    def __init__(self, stream: int, executable: ctypes.c_void_p) -> None:
        self.stream, self.executable = ctypes.c_void_p(stream), executable
        # Looked up once: every call of the engine launches the graph.
        self._launch_now = _driver().cuGraphLaunch

    def launch(self) -> None:
        """Queue all of it in the stream that it was captured from. Raises EngineError."""
        code = self._launch_now(self.executable, self.stream)
        if code != SUCCESS:
            _check(code, "cuGraphLaunch")

    def close(self) -> None:
        """Free it. Raises EngineError."""
        _call("cuGraphExecDestroy", self.executable)


class CudaMemory:
    """A stream and buffers, all freed by `close`.

    One thread at a time may use it, after `make_context_current`.
    Every method raises EngineError where CUDA reports an error.
    """

    def __init__(self, wait: Wait = "auto") -> None:
        self._held = ExitStack()
        self._done: Any = None
        with cuda_errors():
            make_context_current()
            from pycuda import driver

            self._driver = driver
            self._stream: Any = driver.Stream()
            if wait != "auto":
                self._done = driver.Event(_flags(driver, wait))

    @property
    def stream_handle(self) -> int:
        """The stream as TensorRT wants it."""
        return int(self._stream.handle)

    def allocate(
        self, shape: tuple[int, ...], dtype: DTypeLike = np.float32, is_mapped: bool = False
    ) -> Buffer:
        """Take host and GPU memory for an array of `shape` and `dtype`.

        With `is_mapped` the GPU reads the host's, and nothing is copied.
        """
        flags = self._driver.host_alloc_flags.DEVICEMAP if is_mapped else 0
        with cuda_errors():
            host = self._driver.pagelocked_empty(shape, dtype, mem_flags=flags)
            # Freed by hand and in order: the garbage collector could
            # come after the context is gone.
            self._held.callback(host.base.free)
            if is_mapped:
                return Buffer(host, host.base.get_device_pointer(), is_mapped)
        return Buffer(host, self.allocate_on_gpu(host.nbytes))

    def allocate_on_gpu(self, nbytes: int) -> Any:
        """Take `nbytes` of the GPU's memory alone, of unknown content."""
        with cuda_errors():
            device = self._driver.mem_alloc(nbytes)
            self._held.callback(device.free)
        return device

    def copy_on_gpu(self, target: Any, source: Any, nbytes: int) -> None:
        """Queue a copy within the GPU's memory."""
        with cuda_errors():
            self._driver.memcpy_dtod_async(target, source, nbytes, self._stream)

    def upload(self, buffer: Buffer, rows: int) -> None:
        """Queue the copy of the first `rows` rows to the GPU, unless it reads them in place."""
        if buffer.is_mapped:
            return
        try:
            # Not within cuda_errors(), which would be entered three times in every call.
            self._driver.memcpy_htod_async(buffer.device, buffer.host[:rows], self._stream)
        except self._driver.Error as error:
            raise _explained(error) from error

    def download(self, buffer: Buffer, rows: int) -> None:
        """Queue the copy of the first `rows` rows from the GPU."""
        try:
            self._driver.memcpy_dtoh_async(buffer.host[:rows], buffer.device, self._stream)
        except self._driver.Error as error:
            raise _explained(error) from error

    def synchronize(self) -> None:
        """Wait until everything queued is done."""
        try:
            if self._done is None:
                self._stream.synchronize()
            else:
                self._done.record(self._stream).synchronize()
        except self._driver.Error as error:
            raise _explained(error) from error

    def record_event(self) -> Any:
        """A pycuda.driver.Event of the moment when everything queued so far is done."""
        return self._driver.Event().record(self._stream)

    def capture(self, queue: Callable[[], None]) -> Graph:
        """Record what `queue` puts into the stream, instead of running it.

        Raises EngineError where something cannot be recorded; the stream is then as before.
        """
        stream, recorded = ctypes.c_void_p(self.stream_handle), ctypes.c_void_p()
        _call("cuStreamBeginCapture_v2", stream, THREAD_LOCAL_CAPTURE)
        try:
            queue()
        except BaseException:
            # A stream that is left in capture mode records everything that
            # follows instead of running it.
            _driver().cuStreamEndCapture(stream, ctypes.byref(recorded))
            if recorded:
                _driver().cuGraphDestroy(recorded)
            raise
        _call("cuStreamEndCapture", stream, ctypes.byref(recorded))
        executable = ctypes.c_void_p()
        try:
            _call(
                "cuGraphInstantiateWithFlags",
                ctypes.byref(executable),
                recorded,
                # ctypes would pass a plain 0 with 32 bits; the flags have 64.
                ctypes.c_ulonglong(0),
            )
        finally:
            _call("cuGraphDestroy", recorded)
        return Graph(self.stream_handle, executable)

    def close(self) -> None:
        """Free every buffer, the newest first, and the stream; closing twice is harmless."""
        try:
            with cuda_errors():
                self._held.close()
        finally:
            self._done = self._stream = None


def _flags(driver: Any, wait: Wait) -> Any:
    """Of an event: without BLOCKING_SYNC, cuEventSynchronize spins."""
    flags = driver.event_flags
    return flags.DISABLE_TIMING | (flags.BLOCKING_SYNC if wait == "block" else 0)


@functools.cache
def _primary_context() -> Any:
    """That of the first GPU, held until the process ends, as TensorRT holds it."""
    from pycuda import driver

    driver.init()
    context = driver.Device(0).retain_primary_context()
    atexit.register(context.detach)  # else PyCUDA complains at exit; runs after the pop
    # Not the bound method: `__dict__` is that of the thread that asks.
    atexit.register(lambda: _contexts.__dict__.clear())
    return context


class _CurrentContext:
    """A context that is current in the thread that made this, for as long as this lives."""

    def __init__(self, context: Any) -> None:
        context.push()
        self._context = context

    def __del__(self) -> None:
        self._context.pop()


_contexts = threading.local()
"""Of every thread its own: PyCUDA ends the process if a thread ends with a context."""


def make_context_current() -> None:
    """Start CUDA, and make the first GPU's primary context current in this thread until it ends."""
    if not hasattr(_contexts, "current"):
        _contexts.current = _CurrentContext(_primary_context())


def free_memory() -> tuple[int, int]:
    """Free and total bytes of the GPU. Raises EngineError."""
    with cuda_errors():
        make_context_current()
        from pycuda import driver

        free, total = driver.mem_get_info()
    return int(free), int(total)


def gpu_name() -> str:
    """The first GPU as in "NVIDIA A10 (8.6)", with its compute capability. Raises EngineError."""
    with cuda_errors():
        make_context_current()
        from pycuda import driver

        return f"{driver.Device(0).name()} ({compute_capability()})"


def compute_capability() -> str:
    """That of the first GPU, as in "8.6". Raises EngineError."""
    with cuda_errors():
        make_context_current()
        from pycuda import driver

        major, minor = driver.Device(0).compute_capability()
    return f"{major}.{minor}"


def bus_id() -> str:
    """That of the first GPU on the PCI bus, by which nvidia-smi knows it. Raises EngineError."""
    with cuda_errors():
        make_context_current()
        from pycuda import driver

        return str(driver.Device(0).pci_bus_id())


@contextmanager
def cuda_errors() -> Iterator[None]:
    """Turn an error of PyCUDA, or its absence, into an EngineError."""
    try:
        from pycuda import driver
    except ImportError as error:
        raise EngineError(
            f"PyCUDA cannot be loaded: {error}", f"run: {install(['pycuda'])}"
        ) from error
    try:
        yield
    except driver.Error as error:
        raise _explained(error) from error


def _explained(error: Exception) -> EngineError:
    """PyCUDA's error with a hint."""
    from pycuda import driver

    if isinstance(error, driver.MemoryError):
        return EngineError(
            f"not enough GPU memory: {error}",
            "end other programs on the GPU, or set a smaller build.max_batch_size",
        )
    return EngineError(f"CUDA reports: {error}", _hint(str(error)))


def _hint(text: str) -> str:
    if "busy" in text:
        return "end the program that has the GPU to itself (see: nvidia-smi), or choose another GPU"
    if "no CUDA-capable device" in text:
        return "check nvidia-smi and CUDA_VISIBLE_DEVICES"
    return "see: nvidia-smi"


@functools.cache
def _driver() -> ctypes.CDLL:
    return ctypes.CDLL(DRIVER_LIBRARY)


def _call(name: str, *arguments: Any) -> None:
    """Call the driver by the name that its library exports. Raises EngineError."""
    _check(getattr(_driver(), name)(*arguments), name)


def _check(code: int, name: str) -> None:
    if code != SUCCESS:
        text = ctypes.c_char_p()
        _driver().cuGetErrorString(code, ctypes.byref(text))
        said = (text.value or b"unknown error").decode()
        raise EngineError(f"CUDA reports: {name} failed: {said}", _hint(said))
