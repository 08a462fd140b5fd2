from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from stages.engines import child
from stages.engines.base import BuildRequest
from stages.engines.cuda import memory
from stages.engines.registry import ENGINES, Precision
from stages.engines.tensorrt import rtx
from stages.errors import EngineError
from stages.settings import TensorRT
from stages.settings.deployment import ComputeCapability
from tests.stages.graphs import SIGNATURE

pytest.importorskip("tensorrt_rtx", reason="the package tensorrt-rtx is not installed")

needs_no_gpu = pytest.mark.skipif(
    memory.gpu_blocker() is None, reason="this machine has NVIDIA's driver"
)


def test_it_can_be_built_wherever_its_package_is_installed() -> None:
    assert rtx.build_blocker() is None


def test_a_runtime_that_crashes_is_a_blocker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tensorrt_rtx.py").write_text("import os; os.abort()")
    monkeypatch.syspath_prepend(tmp_path)
    child.import_fault.cache_clear()
    blocker = rtx.build_blocker()
    child.import_fault.cache_clear()
    assert blocker is not None
    assert blocker.reason == (
        "tensorrt-rtx is installed but does not load: it crashes with SIGABRT"
    )
    assert blocker.fix == "pip install --force-reinstall tensorrt-rtx"


@needs_no_gpu
def test_without_a_gpu_the_reason_and_the_way_out_are_named() -> None:
    blocker = rtx.run_blocker()
    assert blocker is not None
    assert "no GPU" in blocker.reason
    assert "pipeline run build benchmark" in blocker.fix


def test_the_settings_have_every_gpu_that_can_be_asked_for_and_no_other() -> None:
    import tensorrt_rtx

    named = {name for name in tensorrt_rtx.ComputeCapability.__members__ if name.startswith("SM")}
    wanted = {f"SM{each.replace('.', '')}" for each in get_args(ComputeCapability)}
    assert wanted == named  # Hopper's SM90 is not among them in 1.7


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8", "fp8"])
def test_an_engine_is_built_ahead_of_time_from_the_graph_of_its_precision(
    converted: Path, tmp_path: Path, precision: Precision
) -> None:
    source = converted / ENGINES["tensorrt_rtx"].sources[precision]
    rtx.build(source, tmp_path / "engine.rtx", BuildRequest(SIGNATURE, precision))
    assert (tmp_path / "engine.rtx").read_bytes()[:4] != source.read_bytes()[:4]


def test_fp8_for_gpus_that_lack_it_is_refused_before_anything_is_built(tmp_path: Path) -> None:
    request = BuildRequest(SIGNATURE, "fp8", tensorrt=TensorRT(compute_capabilities=("8.6", "8.9")))
    with pytest.raises(
        EngineError, match=r"fp8 needs .* 8\.9 or higher, .*capabilities has 8\.6\n"
    ):
        rtx.build(tmp_path / "none.onnx", tmp_path / "engine.rtx", request)


@needs_no_gpu
def test_opening_an_engine_without_a_gpu_fails_with_one_clear_error(
    converted: Path, tmp_path: Path
) -> None:
    file = tmp_path / "engine.rtx"
    rtx.build(converted / "model.fp32.onnx", file, BuildRequest(SIGNATURE, "fp32"))
    engine = rtx.Runner(file, SIGNATURE)
    with pytest.raises(EngineError, match="PyCUDA cannot be loaded"):
        engine.open()
    engine.close()
