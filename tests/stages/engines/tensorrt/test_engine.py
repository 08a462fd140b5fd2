from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from stages.engines.base import BuildRequest
from stages.engines.cuda import memory
from stages.engines.modules import load
from stages.engines.tensorrt import engine as tensorrt
from stages.engines.tensorrt import network
from tests.stages.graphs import SIGNATURE

is_installed = importlib.util.find_spec("tensorrt") is not None
needs_tensorrt = pytest.mark.skipif(not is_installed, reason="the package tensorrt is missing")


@pytest.mark.skipif(is_installed, reason="the package tensorrt is installed")
def test_without_its_package_the_command_that_installs_it_is_named() -> None:
    blocker = tensorrt.build_blocker()
    assert blocker is not None
    assert blocker.reason.startswith("the package")
    assert blocker.fix.startswith("pip install tensorrt")
    assert tensorrt.run_blocker() is not None


@pytest.mark.skipif(is_installed, reason="the package tensorrt is installed")
def test_without_its_package_the_graphs_of_todays_tensorrt_are_expected() -> None:
    assert tensorrt.source_file("fp16") == "model.fp16.onnx"
    assert tensorrt.source_file("int8") == "model.int8.tensorrt.onnx"


@needs_tensorrt
def test_the_graphs_fit_the_tensorrt_that_is_installed() -> None:
    strongly_typed = network.is_strongly_typed(tensorrt._tensorrt())
    expected = "model.int8.tensorrt.onnx" if strongly_typed else "model.int8.tensorrt8.onnx"
    assert tensorrt.source_file("int8") == expected


@needs_tensorrt
@pytest.mark.skipif(memory.gpu_blocker() is None, reason="this machine has NVIDIA's driver")
def test_without_a_gpu_nothing_is_built() -> None:
    blocker = tensorrt.build_blocker()
    assert blocker is not None
    assert "no GPU" in blocker.reason


@pytest.mark.gpu
@pytest.mark.parametrize("backend", ["tensorrt", "tensorrt_rtx"])
def test_opening_and_closing_a_hundred_times_leaves_no_memory_behind(
    backend: str, graphs: Path, tmp_path: Path
) -> None:
    module = load(backend)
    blocker = module.build_blocker() or module.run_blocker()
    if blocker is not None:
        pytest.skip(blocker.reason)
    from pycuda import driver

    file = tmp_path / "engine"
    module.build(graphs / "model.fp32.onnx", file, BuildRequest(SIGNATURE, "fp32", 8))
    engine = module.Runner(file, SIGNATURE)
    with engine:
        free_before = driver.mem_get_info()[0]
    for _ in range(100):
        with engine:
            free_after = driver.mem_get_info()[0]
    assert free_after >= free_before - (1 << 20)
