"""A batch on a GPU: copied to it, computed, and copied back, in one CUDA stream.

From the second call with one batch size on, all three are one CUDA graph. With several streams the
copies of one batch overlap the computation of another. What is computed is a `Computation`:
nothing here knows TensorRT.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from statistics import median
from typing import Any, Protocol

from numpy.typing import DTypeLike, NDArray

from stages import progress
from stages.engines.base import Images
from stages.engines.cuda.memory import Buffer, CudaMemory, Graph
from stages.engines.cuda.timing import time_part
from stages.errors import EngineError
from stages.numerics import fields
from stages.settings import Gpu

RowsIn = tuple[tuple[int, ...], DTypeLike]
"""Shape and type of one row of an input."""

ROUNDS = 5
"""Of which the median is taken where the parts of a call are timed."""


class Computation(Protocol):
    """What happens to a batch between the copies. Its methods raise EngineError."""

    name: str

    def bind(self, sources: Mapping[str, int], targets: Mapping[str, int]) -> None:
        """Read each input from the GPU's address of its name from now on, and write each output to
        that of its own."""

    def set_rows(self, rows: int, stream: int) -> None:
        """Compute this many rows from now on; what that takes on the GPU goes into `stream`."""

    def queue(self, stream: int) -> None:
        """Put the computation into a stream."""

    def capture_blocker(self, stream: int) -> str:
        """Why it cannot be part of a CUDA graph; "" if it can."""


class CudaStream:
    """A stream with buffers for the largest batch, and a CUDA graph.

    It holds one batch at a time: `submit`, then `collect`.
    """

    def __init__(
        self,
        computation: Computation,
        largest: int,
        rows_in: Mapping[str, RowsIn],
        rows_out: Mapping[str, tuple[int, ...]],
        captures: bool = True,
        gpu: Gpu | None = None,
    ) -> None:
        """Take memory for `largest` rows of each input by name, of the shapes and types `rows_in`,
        and of each float32 output by name, of the shapes `rows_out`.

        `gpu` says where the inputs are and how `collect` waits. Without `captures` no CUDA graph is
        made. Raises EngineError; what was allocated until then is freed.
        """
        self._computation: Computation | None = computation
        self._largest = largest
        self._rows = self._calls = 0
        self._graph: Graph | None = None
        self._captures = captures
        settings = gpu or Gpu()
        self._memory = CudaMemory(settings.wait)
        try:
            is_mapped = settings.input == "mapped"
            inputs: dict[str, Buffer] = {
                name: self._memory.allocate((largest, *row), dtype, is_mapped)
                for name, (row, dtype) in rows_in.items()
            }
            self._inputs = tuple(inputs.values())
            self._outputs: dict[str, Buffer] = {
                name: self._memory.allocate((largest, *row)) for name, row in rows_out.items()
            }
            sources, targets = (
                {name: buffer.address for name, buffer in buffers.items()}
                for buffers in (inputs, self._outputs)
            )
            computation.bind(sources, targets)
        except BaseException:
            self.close()
            raise

    @property
    def graph(self) -> Graph | None:
        """What a call of the present batch size launches, once it is captured."""
        return self._graph

    def submit(self, rows: Images) -> None:
        """Copy a batch, of several inputs the list of their arrays in the order of `rows_in`, and
        queue its copies and computation on the GPU. Raises EngineError."""
        if self._computation is None:
            raise EngineError("the stream is closed")  # its buffers are no longer ours
        if isinstance(rows, list):
            self._fill(rows)
        else:  # the same without a loop, as engines on a CPU do it
            if len(rows) != self._rows:
                self._set_rows(len(rows))
            self._inputs[0].host[: self._rows] = rows
        if self._graph is None and self._calls > 0 and self._captures:
            self._graph = self._captured(self._queue)
        if self._graph is not None:
            self._graph.launch()
        else:
            self._queue()
        self._calls += 1

    def collect(self) -> NDArray[Any]:
        """Wait for the submitted batch and return its output, or of several one array (rows,) with
        a field for each. Raises EngineError."""
        self._memory.synchronize()
        found = {name: buffer.host[: self._rows] for name, buffer in self._outputs.items()}
        # Copies either way: the next batch overwrites the buffers.
        return next(iter(found.values())).copy() if len(found) == 1 else fields.joined(found)

    def time_parts(self, rows: Images, calls: int) -> dict[str, float]:
        """Median milliseconds of a call, part by part.

        `h2d_ms`, `compute_ms` and `d2h_ms` are those of `calls` of them queued back to back,
        between two CUDA events, by the number of calls: a single one would begin on an idle GPU,
        and the time until the CPU has queued it would count as its own. `enqueue_ms` is what the
        CPU takes to queue the computation, which is a CUDA graph of its own where it can be one.
        `resident_ms` is that of a call whose input is on the GPU and whose output stays there, from
        the CPU's point of view, one by one (`trtexec --noDataTransfers`). Raises EngineError.
        """
        self.submit(rows)
        self.collect()
        graph = self._captured(self._compute) if self._captures else None
        parts: dict[str, Callable[[], None]] = {
            "h2d_ms": self._upload,
            "compute_ms": graph.launch if graph else self._compute,
            "d2h_ms": self._download,
        }
        try:
            taken = [
                {name: time_part(self._memory, part, calls) for name, part in parts.items()}
                for _ in range(ROUNDS)
            ]
            resident_ms = self._time_waiting(parts["compute_ms"], calls)
        finally:
            if graph:
                graph.close()
        found = {name: median(each[name][0] for each in taken) for name in parts}
        enqueue_ms = median(each["compute_ms"][1] for each in taken)
        return {**found, "enqueue_ms": enqueue_ms, "resident_ms": resident_ms}

    def close(self) -> None:
        """Free the graph, the computation and the memory; closing twice is harmless."""
        try:
            self._drop_graph()
        finally:
            self._computation = None
            self._memory.close()

    def _fill(self, arrays: Sequence[NDArray[Any]]) -> None:
        if len(arrays[0]) != self._rows:
            self._set_rows(len(arrays[0]))
        for buffer, array in zip(self._inputs, arrays, strict=True):
            buffer.host[: self._rows] = array

    def _set_rows(self, rows: int) -> None:
        if self._computation is None:
            raise EngineError("the stream is closed")
        if rows > self._largest:
            raise EngineError(
                f"{self._computation.name}: a batch of {rows}, expected at most {self._largest}",
                "build for larger ones: --set build.max_batch_size=N",
            )
        self._drop_graph()  # what it holds belongs to another batch size
        self._rows = self._calls = 0
        self._computation.set_rows(rows, self._memory.stream_handle)
        self._rows = rows

    def _queue(self) -> None:
        self._upload()
        self._compute()
        self._download()

    def _upload(self) -> None:
        for buffer in self._inputs:
            self._memory.upload(buffer, self._rows)

    def _download(self) -> None:
        for buffer in self._outputs.values():
            self._memory.download(buffer, self._rows)

    def _compute(self) -> None:
        if self._computation is not None:
            self._computation.queue(self._memory.stream_handle)

    def _captured(self, queue: Callable[[], None]) -> Graph | None:
        """`queue` as a CUDA graph; where that fails calls stay as they are, with a message.

        The first call of a batch size is never captured: TensorRT prepares in it what depends
        on the shape.
        """
        if self._computation is None:
            return None
        reason = self._computation.capture_blocker(self._memory.stream_handle)
        if not reason:
            try:
                return self._memory.capture(queue)
            except EngineError as error:
                reason = error.message
        self._captures = False
        progress.report(f"{self._computation.name}: no CUDA graph, {reason}")
        return None

    def _time_waiting(self, part: Callable[[], None], calls: int) -> float:
        """Median milliseconds of `calls` calls, each of which is waited for."""
        taken = []
        for _ in range(calls):
            start = time.perf_counter_ns()
            part()
            self._memory.synchronize()
            taken.append(time.perf_counter_ns() - start)
        return median(taken) / 1e6

    def _drop_graph(self) -> None:
        graph, self._graph = self._graph, None
        if graph is not None:
            graph.close()


def run_many(
    stream_at: Callable[[int], CudaStream], batches: Iterable[Images], streams: int = 2
) -> Iterator[NDArray[Any]]:
    """Results of `batches`, in order, with so many of them in flight at a time.

    `stream_at(0)`, `stream_at(1)`, ... are the streams, each made when a batch first needs it.
    """
    waiting: deque[CudaStream] = deque()
    try:
        for turn, rows in enumerate(batches):
            # Collected only when its stream is needed again: one step
            # earlier nothing would overlap.
            if len(waiting) == streams:
                yield waiting.popleft().collect()
            free = stream_at(turn % streams)
            free.submit(rows)
            waiting.append(free)
        while waiting:
            yield waiting.popleft().collect()
    finally:
        for busy in waiting:  # the reader stopped early: nothing may be left in flight
            with suppress(EngineError):
                busy.collect()
