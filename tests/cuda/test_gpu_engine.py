"""What benchmarks/gpu_engine.py measures of an opened engine, which here is the stand-in's."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.artifacts.signature import Signature
from stages.datasets.base import Split
from stages.engines.base import Engine
from stages.engines.cuda.stream import CudaStream, run_many
from stages.engines.registry import EngineName
from stages.measurement.parity import KERAS_FLOAT
from tests.cuda.conftest import StandIn

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import gpu_engine

NAME, WIDTH, BATCH = EngineName("tensorrt", "fp32"), 3, 4
KINDS = {
    **{"reformat_head/conv": "CaskConvolution", "__myl_Conv_myl0_1": "kgen"},
    **{"Reformatting CopyNode for Input": "Reformat", "__myl_CastTran_myl0_2": "kgen"},
}
"""Of the layers by name: two compute, though one is called after a reformat, and two only move."""
SIGNATURE = Signature((1, 1, WIDTH), ("a", "b", "c"), 1.0, 0.0)


class AddOne:
    """Every number plus one."""

    name = "add_one"

    def __init__(self, gpu: StandIn) -> None:
        self.gpu, self.rows = gpu, 0

    def bind(self, sources: Mapping[str, int], targets: Mapping[str, int]) -> None:
        (self.source,), (self.target,) = sources.values(), targets.values()

    def set_rows(self, rows: int, stream: int) -> None:
        self.rows = rows

    def queue(self, stream: int) -> None:
        self.gpu.compute(stream, self.target, self.source, self.rows * WIDTH)

    def capture_blocker(self, stream: int) -> str:
        return ""


class StandInEngine(Engine):
    """An engine whose layers are one computation of the stand-in."""

    stand_in: StandIn
    gpu_memory_mib = 1.5

    def _open(self) -> None:
        rows_in = {"image": (SIGNATURE.input_shape, np.float32)}
        shapes = (rows_in, {"logits": (WIDTH,)})
        self.streams = [
            CudaStream(AddOne(self.stand_in), BATCH, *shapes, gpu=self.gpu)
            for _ in range(self.gpu.streams)
        ]
        self.execution = self.streams[0]

    def _infer(self, images: Any) -> Any:
        self.execution.submit(images)
        return self.execution.collect()

    def _infer_many(self, batches: Any) -> Iterator[Any]:
        return run_many(self.streams.__getitem__, batches, self.gpu.streams)

    def time_parts(self, images: Any, calls: int) -> dict[str, float]:
        return self.execution.time_parts(images, calls)

    def layer_milliseconds(self, images: Any, calls: int) -> dict[str, float]:
        return dict.fromkeys(KINDS, 0.125)

    def _close(self) -> None:
        for stream in self.streams:
            stream.close()


@pytest.fixture
def engine(gpu: StandIn, tmp_path: Path) -> Iterator[StandInEngine]:
    file = tmp_path / "engine.plan"
    file.touch()

    class Here(StandInEngine):
        stand_in = gpu

    with Here(file, SIGNATURE) as engine:
        yield engine  # type: ignore[misc]


def measured(engine: StandInEngine, seconds: float = 0.02) -> dict[str, Any]:
    """All parts of a measurement in one row."""
    images = np.random.default_rng(0).integers(0, 256, (10, 1, 1, WIDTH), np.uint8)
    expected = SIGNATURE.preprocess(images).reshape(10, WIDTH) + 1
    labels = expected.argmax(axis=1)
    samples = {"images": images, "labels": labels, KERAS_FLOAT: expected}
    test = Split(images[:6], np.append(labels[:5], (labels[5] + 1) % WIDTH))
    batch = SIGNATURE.preprocess(images[:BATCH])
    row: dict[str, Any] = {}
    for part in gpu_engine.measure(NAME, engine, samples, test, batch, seconds, (BATCH,), KINDS):
        row |= part
    return row


def test_every_part_is_measured(engine: StandInEngine) -> None:
    row = measured(engine)
    assert not [key for key in row if key.endswith("_failed")]
    assert row["samples_top1"] == row["keras_samples_top1"] == 1.0
    assert row["top1"] == pytest.approx(5 / 6)
    assert row["parity"]["passed"]
    assert row["kernel_sum_ms"] == 0.5
    assert row["moves_share"] == 0.5
    # In the stand-in's time a copy and a computation take a millisecond each.
    assert (row["h2d_ms"], row["compute_ms"], row["d2h_ms"]) == pytest.approx((1, 1, 1), rel=0.1)
    for key in ("infer_p50_ms", "bare_p50_ms", "cpp_replay_p50_ms", "images_per_second"):
        assert row[key] > 0
    assert 0 < row["empty_graph_ms"] < 1000
    for key in ("spin", "block", "mapped"):
        assert row[f"{key}_p50_ms"] > 0
    assert row["images_per_second_s1"] > 0
    assert row["images_per_second_s4"] > 0
    assert row["gpu_clocks"] == []  # without nvidia-smi


def test_a_part_that_fails_is_named_and_the_others_are_measured(
    engine: StandInEngine, gpu: StandIn
) -> None:
    gpu.fail("cuEventRecord", 46)
    row = measured(engine)
    assert "busy or unavailable" in row["parts_failed"]
    assert row["cpp_replay_p50_ms"] > 0
    assert row["images_per_second"] > 0
