from __future__ import annotations

from pathlib import Path

import pytest

from stages.engines import modules
from stages.engines.base import BuildRequest
from stages.engines.cuda.memory import gpu_blocker
from stages.engines.registry import ENGINES, EngineName, Precision
from stages.engines.tensorrt import rtx
from stages.engines.tensorrt.engine import FLAGGED_SOURCES
from stages.errors import EngineError
from stages.measurement import gpu_peaks
from stages.results.engines import EngineRecord

needs_rtx = pytest.mark.skipif(
    rtx.build_blocker() is not None, reason="the package tensorrt-rtx is not installed"
)
needs_no_gpu = pytest.mark.skipif(gpu_blocker() is None, reason="this machine has NVIDIA's driver")


def test_every_graph_that_an_engine_of_a_gpu_is_built_from_has_its_convolution() -> None:
    rows = [each.sources.values() for each in ENGINES.values() if each.device == "gpu"]
    assert {file for each in rows for file in each} | {*FLAGGED_SOURCES.values()} == {
        *gpu_peaks.GRAPHS
    }


@needs_rtx
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8", "fp8"])
def test_the_kernels_of_a_peak_compute_in_its_precision(
    tmp_path: Path, precision: Precision
) -> None:
    """Built ahead of time, as far as a machine without a GPU can go."""
    source = gpu_peaks.write_graphs(EngineName("tensorrt_rtx", precision), tmp_path)
    request = BuildRequest(gpu_peaks.SIZE.signature, precision, gpu_peaks.SIZE.batch)
    layers = rtx.build(source, tmp_path / "peak.rtx", request).layers
    convolutions = [each for each in layers if each.requested]
    assert [each.executed for each in convolutions] == [precision] * gpu_peaks.SIZE.layers


@needs_rtx
@needs_no_gpu
def test_an_engine_that_cannot_be_built_or_run_claims_no_peak() -> None:
    engines = [EngineRecord(backend="tensorrt_rtx", precision="int8", file="engine", state="ran")]
    assert list(gpu_peaks.arithmetic(engines, 1)) == []
    with pytest.raises(EngineError):
        list(gpu_peaks.memory(engines, 1))


def test_where_no_engine_ran_on_a_gpu_nothing_is_tried() -> None:
    engines = [
        EngineRecord(backend="litert", precision="int8", file="engine", state="ran"),
        EngineRecord(backend="tensorrt_rtx", precision="int8", file="engine"),
    ]
    assert [*gpu_peaks.arithmetic(engines, 1), *gpu_peaks.memory(engines, 1)] == []


@pytest.mark.gpu
@pytest.mark.parametrize("backend", ["tensorrt", "tensorrt_rtx"])
def test_a_gpu_computes_in_float16_no_slower_than_in_float32(backend: str) -> None:
    module = modules.load(backend)
    blocker = module.build_blocker() or module.run_blocker()
    if blocker is not None:
        pytest.skip(blocker.reason)
    engines = [
        EngineRecord(backend=backend, precision=precision, file="engine", state="ran")
        for precision in ("fp16", "fp32")
    ]
    half, single = gpu_peaks.arithmetic(engines, 1)
    assert half.multiply_adds_per_second > 0.9 * single.multiply_adds_per_second > 1e11
    small, large = gpu_peaks.memory(engines, 1)
    assert min(small.bytes_per_second, large.bytes_per_second) > 1e10
