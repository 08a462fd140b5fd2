from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.engines.cuda.stream import CudaStream, run_many
from stages.errors import EngineError
from stages.numerics import fields
from stages.settings import Gpu
from stages.settings.deployment import Wait
from tests.cuda.conftest import StandIn

OUT_OF_MEMORY = 2
LARGEST, WIDTH = 4, 3
INPUT = {"numbers": ((WIDTH,), np.float32)}
OUTPUT = {"sums": (WIDTH,)}
Rows = NDArray[np.float32]


class AddOne:
    """A computation of the stand-in: every number plus one."""

    name = "add_one"

    def __init__(self, gpu: StandIn, ms: float = 1.0, refuses: str = "") -> None:
        self.gpu, self.ms, self.refuses = gpu, ms, refuses
        self.rows = 0

    def bind(self, sources: Mapping[str, int], targets: Mapping[str, int]) -> None:
        (self.source,), (self.target,) = sources.values(), targets.values()

    def set_rows(self, rows: int, stream: int) -> None:
        self.rows = rows

    def queue(self, stream: int) -> None:
        self.gpu.compute(stream, self.target, self.source, self.rows * WIDTH, self.ms)

    def capture_blocker(self, stream: int) -> str:
        return self.refuses


def stream(gpu: StandIn, computation: AddOne | None = None) -> CudaStream:
    return CudaStream(computation or AddOne(gpu), LARGEST, INPUT, OUTPUT)


def rows(count: int, first: float = 0.0) -> Rows:
    return np.arange(first, first + count * WIDTH, dtype=np.float32).reshape(count, WIDTH)


def steps(gpu: StandIn) -> list[tuple[int, str, float, float]]:
    """What was done, without the launches of graphs: (stream, engine, start ms, end ms)."""
    words = [line.split() for line in gpu.trace() if line[0].isdigit()]
    return [(int(a), b, float(c), float(d)) for a, b, _, c, d in words]


def test_a_batch_comes_back_computed(gpu: StandIn) -> None:
    one = stream(gpu)
    one.submit(rows(2))
    np.testing.assert_array_equal(one.collect(), rows(2) + 1)
    assert [engine for _, engine, _, _ in steps(gpu)] == ["to_gpu", "compute", "from_gpu"]
    one.close()
    one.close()


def test_the_input_may_change_as_soon_as_it_was_submitted(gpu: StandIn) -> None:
    one, sent = stream(gpu), rows(2)
    one.submit(sent)
    sent[:] = -100
    np.testing.assert_array_equal(one.collect(), rows(2) + 1)
    one.close()


def test_a_result_outlives_the_next_batch(gpu: StandIn) -> None:
    one = stream(gpu)
    one.submit(rows(2))
    first = one.collect()
    one.submit(rows(2, first=50))
    one.collect()
    np.testing.assert_array_equal(first, rows(2) + 1)
    one.close()


def test_from_the_second_call_on_a_batch_size_is_one_graph(gpu: StandIn) -> None:
    one = stream(gpu)
    for call in range(4):
        one.submit(rows(3, first=call))
        assert (one.graph is not None) == (call > 0)
        np.testing.assert_array_equal(one.collect(), rows(3, first=call) + 1)
    assert sum(line == "launch of a graph of 3" for line in gpu.trace()) == 3
    assert gpu.live()["graphs"] == 1
    one.close()
    assert gpu.live() == {}


def test_another_batch_size_begins_with_a_plain_run(gpu: StandIn) -> None:
    one = stream(gpu)
    for count, captured in ((2, False), (2, True), (4, False), (4, True), (2, False)):
        one.submit(rows(count))
        assert (one.graph is not None) == captured
        np.testing.assert_array_equal(one.collect(), rows(count) + 1)
    one.close()


def test_buffers_are_allocated_once_for_all_batch_sizes(gpu: StandIn) -> None:
    one = stream(gpu)
    taken = gpu.live()
    for count in (1, 4, 2, 4, 4, 3):
        one.submit(rows(count))
        one.collect()
    kept = {kind: count for kind, count in gpu.live().items() if kind != "graphs"}
    assert kept == taken == {"device_memory": 2, "host_memory": 2, "streams": 1}
    one.close()


def test_a_batch_beyond_the_largest_is_refused_and_the_stream_still_works(gpu: StandIn) -> None:
    one = stream(gpu)
    with pytest.raises(EngineError, match="add_one: a batch of 5, expected at most 4") as caught:
        one.submit(rows(5))
    assert "build.max_batch_size" in caught.value.hint
    one.submit(rows(4))
    np.testing.assert_array_equal(one.collect(), rows(4) + 1)
    one.close()


@pytest.mark.parametrize("call", ["cuStreamBeginCapture", "cuGraphInstantiateWithFlags"])
def test_where_no_graph_can_be_made_calls_stay_plain_and_it_is_said(
    gpu: StandIn, call: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="stages")
    one = stream(gpu)
    gpu.fail(call, OUT_OF_MEMORY)
    for turn in range(4):
        one.submit(rows(2, first=turn))
        np.testing.assert_array_equal(one.collect(), rows(2, first=turn) + 1)
    assert one.graph is None
    assert len(caplog.messages) == 1
    assert f"add_one: no CUDA graph, CUDA reports: {call}" in caplog.text
    one.close()


def test_a_computation_that_cannot_be_captured_is_not(
    gpu: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="stages")
    one = stream(gpu, AddOne(gpu, refuses="it depends on data"))
    for _ in range(3):
        one.submit(rows(1))
        np.testing.assert_array_equal(one.collect(), rows(1) + 1)
    assert one.graph is None
    assert caplog.messages == ["add_one: no CUDA graph, it depends on data"]
    one.close()


def test_without_captures_every_call_is_plain(gpu: StandIn) -> None:
    one = CudaStream(AddOne(gpu), LARGEST, INPUT, OUTPUT, captures=False)
    for _ in range(3):
        one.submit(rows(2))
        np.testing.assert_array_equal(one.collect(), rows(2) + 1)
    assert "graphs" not in gpu.live()
    assert all(line[0].isdigit() for line in gpu.trace())
    one.close()


@pytest.mark.parametrize(
    ("wait", "said"), [("auto", []), ("spin", ["spun"]), ("block", ["blocked"])]
)
def test_the_cpu_waits_as_the_settings_say(gpu: StandIn, wait: Wait, said: list[str]) -> None:
    one = CudaStream(AddOne(gpu), LARGEST, INPUT, OUTPUT, gpu=Gpu(wait=wait))
    one.submit(rows(2))
    np.testing.assert_array_equal(one.collect(), rows(2) + 1)
    assert [line for line in gpu.trace() if not line[0].isdigit()] == said
    one.close()
    assert gpu.live() == {}


def test_a_mapped_input_is_read_where_it_is(gpu: StandIn) -> None:
    one = CudaStream(AddOne(gpu), LARGEST, INPUT, OUTPUT, gpu=Gpu(input="mapped"))
    assert gpu.live() == {"device_memory": 1, "host_memory": 2, "streams": 1}
    for call in range(3):
        one.submit(rows(2, first=call))
        np.testing.assert_array_equal(one.collect(), rows(2, first=call) + 1)
    assert [engine for _, engine, _, _ in steps(gpu)] == ["compute", "from_gpu"] * 3
    assert sum(line == "launch of a graph of 2" for line in gpu.trace()) == 2
    one.close()
    assert gpu.live() == {}


class AddOneAndTwo(AddOne):
    """Two outputs: every number plus one, and that plus one."""

    def bind(self, sources: Mapping[str, int], targets: Mapping[str, int]) -> None:
        (self.source,), self.target, self.behind = sources.values(), targets["one"], targets["two"]

    def queue(self, stream: int) -> None:
        super().queue(stream)
        self.gpu.compute(stream, self.behind, self.target, self.rows * WIDTH, self.ms)


def two_outputs(gpu: StandIn) -> CudaStream:
    return CudaStream(AddOneAndTwo(gpu), LARGEST, INPUT, {"two": (WIDTH,), "one": (1, WIDTH)})


def test_several_outputs_come_back_as_one_array_from_one_graph(gpu: StandIn) -> None:
    one = two_outputs(gpu)
    assert gpu.live() == {"device_memory": 3, "host_memory": 3, "streams": 1}
    kept = []
    for call in range(3):
        one.submit(rows(2, first=call))
        kept.append(one.collect())
    for call, found in enumerate(kept):
        assert fields.names(found) == ("two", "one")
        np.testing.assert_array_equal(found["two"], rows(2, first=call) + 2)
        np.testing.assert_array_equal(found["one"], rows(2, first=call)[:, None] + 1)
    done = [engine for _, engine, _, _ in steps(gpu)]
    assert done == ["to_gpu", "compute", "compute", "from_gpu", "from_gpu"] * 3
    assert sum(line == "launch of a graph of 5" for line in gpu.trace()) == 2
    one.close()


def test_the_copies_of_all_outputs_are_timed(gpu: StandIn) -> None:
    one = two_outputs(gpu)
    parts = one.time_parts(rows(2), calls=3)
    assert (parts["h2d_ms"], parts["compute_ms"], parts["d2h_ms"]) == (1.0, 2.0, 2.0)
    one.close()


class AddOneAndThree(AddOne):
    """Two inputs: what is "near" plus one, and what is "far" plus three."""

    def bind(self, sources: Mapping[str, int], targets: Mapping[str, int]) -> None:
        self.sources, self.targets = sources, targets

    def queue(self, stream: int) -> None:
        for name, times in (("near", 1), ("far", 3)):
            source = self.sources[name]
            for _ in range(times):
                floats = self.rows * WIDTH
                self.gpu.compute(stream, self.targets[name], source, floats, self.ms)
                source = self.targets[name]


def two_inputs(gpu: StandIn, settings: Gpu | None = None) -> CudaStream:
    # Of one shape, and in another order than that of their names.
    shapes = {"near": ((WIDTH,), np.float32), "far": ((WIDTH,), np.float32)}
    outputs = {"far": (WIDTH,), "near": (WIDTH,)}
    return CudaStream(AddOneAndThree(gpu), LARGEST, shapes, outputs, gpu=settings)


def test_several_inputs_each_have_a_buffer_and_a_copy_in_one_graph(gpu: StandIn) -> None:
    one = two_inputs(gpu)
    assert gpu.live() == {"device_memory": 4, "host_memory": 4, "streams": 1}
    for call in range(3):
        one.submit([rows(2, first=call), rows(2, first=100 + call)])
        found = one.collect()
        np.testing.assert_array_equal(found["near"], rows(2, first=call) + 1)
        np.testing.assert_array_equal(found["far"], rows(2, first=100 + call) + 3)
    done = [engine for _, engine, _, _ in steps(gpu)]
    assert done == (["to_gpu"] * 2 + ["compute"] * 4 + ["from_gpu"] * 2) * 3
    assert sum(line == "launch of a graph of 8" for line in gpu.trace()) == 2
    assert one.time_parts([rows(2), rows(2)], calls=3)["h2d_ms"] == 2.0
    one.close()


def test_several_mapped_inputs_are_read_where_they_are(gpu: StandIn) -> None:
    one = two_inputs(gpu, Gpu(input="mapped"))
    assert gpu.live() == {"device_memory": 2, "host_memory": 4, "streams": 1}
    one.submit([rows(3), rows(3, first=50)])
    np.testing.assert_array_equal(one.collect()["far"], rows(3, first=50) + 3)
    assert "to_gpu" not in [engine for _, engine, _, _ in steps(gpu)]
    one.close()


@pytest.mark.parametrize("allocation", [1, 2])
@pytest.mark.parametrize("call", ["cuMemAlloc", "cuMemHostAlloc"])
def test_a_stream_without_room_gives_back_what_it_took(
    gpu: StandIn, call: str, allocation: int
) -> None:
    gpu.fail(call, OUT_OF_MEMORY, after=allocation)
    with pytest.raises(EngineError, match="not enough GPU memory"):
        stream(gpu)
    assert gpu.live() == {}


def test_an_error_under_way_leaves_nothing_behind_after_closing(gpu: StandIn) -> None:
    one = stream(gpu)
    one.submit(rows(2))
    one.collect()
    one.submit(rows(2))
    gpu.fail("cuStreamSynchronize", 700)
    with pytest.raises(EngineError, match="illegal memory access"):
        one.collect()
    one.close()
    assert gpu.live() == {}


def test_the_parts_of_a_call_are_timed_by_events(gpu: StandIn) -> None:
    one = stream(gpu, AddOne(gpu, ms=5.0))
    parts = one.time_parts(rows(2), calls=3)
    assert (parts["h2d_ms"], parts["compute_ms"], parts["d2h_ms"]) == (1.0, 5.0, 1.0)
    assert parts["enqueue_ms"] > 0
    assert parts["resident_ms"] > 0
    assert gpu.live() == {"device_memory": 2, "host_memory": 2, "streams": 1}
    one.close()


class Streams:
    """Two streams, made when they are asked for."""

    def __init__(self, gpu: StandIn, ms: float = 1.0) -> None:
        self.gpu, self.ms = gpu, ms
        self.made: list[CudaStream] = []

    def __call__(self, index: int) -> CudaStream:
        if index == len(self.made):
            self.made.append(stream(self.gpu, AddOne(self.gpu, self.ms)))
        return self.made[index]

    def close(self) -> None:
        for one in self.made:
            one.close()


def test_many_batches_come_back_in_order(gpu: StandIn) -> None:
    streams = Streams(gpu)
    sizes = [4, 4, 4, 4, 4, 2]
    sent = [rows(size, first=100 * index) for index, size in enumerate(sizes)]
    found = list(run_many(streams, sent))
    assert len(streams.made) == 2
    for got, batch in zip(found, sent, strict=True):
        np.testing.assert_array_equal(got, batch + 1)
    streams.close()


def test_so_many_are_in_flight_as_the_settings_say(gpu: StandIn) -> None:
    streams = Streams(gpu)
    sent = [rows(2, first=100 * index) for index in range(7)]
    for got, batch in zip(run_many(streams, sent, 3), sent, strict=True):
        np.testing.assert_array_equal(got, batch + 1)
    assert len(streams.made) == 3
    streams.close()


@pytest.mark.parametrize("count", [0, 1])
def test_so_few_batches_take_no_second_stream(gpu: StandIn, count: int) -> None:
    streams = Streams(gpu)
    assert len(list(run_many(streams, [rows(2)] * count))) == count
    assert len(streams.made) == count
    streams.close()


def test_copies_of_the_next_batch_overlap_the_computation(gpu: StandIn) -> None:
    streams = Streams(gpu, ms=4.0)
    list(run_many(streams, [rows(4)] * 6))
    by_engine: dict[str, list[tuple[float, float]]] = {}
    for _, engine, start, end in steps(gpu):
        by_engine.setdefault(engine, []).append((start, end))
    computed = sorted(by_engine["compute"])
    copied = sorted(by_engine["to_gpu"])
    for (_, end), (next_copy, _) in zip(computed, copied[1:], strict=False):
        assert next_copy < end, "the next batch is copied while this one is computed"
    gaps = [later[0] - earlier[1] for earlier, later in itertools.pairwise(computed)]
    assert max(gaps) == 0.0, "the GPU computes without a break"
    streams.close()


def test_one_after_the_other_nothing_overlaps(gpu: StandIn) -> None:
    one = stream(gpu, AddOne(gpu, ms=4.0))
    for _ in range(3):
        one.submit(rows(4))
        one.collect()
    done = steps(gpu)
    assert all(later[2] >= earlier[3] for earlier, later in itertools.pairwise(done))
    one.close()


def test_a_reader_that_stops_early_leaves_nothing_under_way(gpu: StandIn) -> None:
    streams = Streams(gpu)

    def batches() -> Iterator[Rows]:
        for index in range(10):
            yield rows(2, first=index)

    found = run_many(streams, batches())
    np.testing.assert_array_equal(next(found), rows(2) + 1)
    found.close()  # type: ignore[attr-defined]
    streams.made[0].submit(rows(2, first=70))
    np.testing.assert_array_equal(streams.made[0].collect(), rows(2, first=70) + 1)
    streams.close()


def test_a_closed_stream_takes_no_batch_of_the_size_it_had(gpu: StandIn) -> None:
    one = stream(gpu)
    one.submit(rows(2))
    one.collect()
    one.close()
    with pytest.raises(EngineError, match="the stream is closed"):
        one.submit(rows(2))
