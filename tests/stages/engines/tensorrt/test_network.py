"""Real builds with TensorRT-RTX, whose builder needs no GPU."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from stages.engines.base import BuildReport, BuildRequest
from stages.engines.cuda.memory import gpu_blocker
from stages.engines.layers import mismatches
from stages.engines.registry import Precision
from stages.engines.tensorrt import network as trt_network
from stages.engines.tensorrt.logger import logger
from stages.errors import EngineError
from stages.settings import TensorRT
from tests.stages.graphs import SIGNATURE, graph

trt = pytest.importorskip("tensorrt_rtx", reason="the package tensorrt-rtx is not installed")


def report_of(
    source: Path, folder: Path, precision: Precision = "fp32", **wanted: Any
) -> BuildReport:
    """Build `source` into `folder` for batches up to eight."""
    request = BuildRequest(SIGNATURE, precision, max_batch_size=8, **wanted)
    return trt_network.build(trt, source, folder / f"{precision}.rtx", request)


def build(source: Path, folder: Path, precision: Precision = "fp32") -> Path:
    report_of(source, folder, precision)
    return folder / f"{precision}.rtx"


def network(*names: str) -> Any:
    """A TensorRT that knows these network flags."""
    flags = SimpleNamespace(**{name: index for index, name in enumerate(names)})
    return SimpleNamespace(NetworkDefinitionCreationFlag=flags)


@pytest.mark.parametrize(
    ("names", "strongly_typed", "flags"),
    [
        (("EXPLICIT_BATCH", "EXPLICIT_PRECISION"), False, 0b01),  # 8.6
        (("EXPLICIT_BATCH", "STRONGLY_TYPED"), True, 0b10),  # 10
        (("STRONGLY_TYPED",), True, 0b1),  # 11
        ((), True, 0),  # later ones, where no network is anything else
    ],
)
def test_versions_are_told_apart_by_the_names_of_their_network_flags(
    names: tuple[str, ...], strongly_typed: bool, flags: int
) -> None:
    assert trt_network.is_strongly_typed(network(*names)) is strongly_typed
    assert trt_network.network_flags(network(*names)) == flags


@pytest.mark.parametrize("is_wanted", [False, True])
def test_float32_is_no_tf32_unless_it_is_asked_for(is_wanted: bool) -> None:
    builder = trt.Builder(logger(trt))
    request = BuildRequest(SIGNATURE, "fp32", tensorrt=TensorRT(tf32=is_wanted))
    config = trt_network._config(trt, builder, request, [])
    assert config.get_flag(trt.BuilderFlag.TF32) is is_wanted


def test_an_engine_survives_whatever_its_description_does(converted: Path, tmp_path: Path) -> None:
    engine = build(converted / "model.fp32.onnx", tmp_path)
    account = engine.with_name(f"{engine.name}.layers.txt")
    assert account.read_text().startswith("Layers:")
    engine.unlink()
    account.unlink()
    account.mkdir()  # cannot be written to
    report = report_of(converted / "model.fp32.onnx", tmp_path)
    assert engine.stat().st_size > 1000
    assert report.layers == ()
    assert "its layers are unknown: IsADirectoryError" in report.remarks[-1]


def test_tensorrt_rtx_is_strongly_typed() -> None:
    assert trt_network.is_strongly_typed(trt)
    flag = trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED
    assert trt_network.network_flags(trt) == 1 << int(flag)


@pytest.mark.parametrize(
    ("file", "precision", "conv", "dense"),
    [
        ("model.fp32.onnx", "fp32", ("conv_1", "fp32"), ("gemm_5", "fp32")),
        ("model.fp16.onnx", "fp16", ("conv_2", "fp16"), ("gemm_6", "fp16")),
        ("model.fp8.onnx", "fp8", ("conv_5", "fp8"), ("gemm_12", "fp8")),
        ("model.int8.tensorrt.onnx", "int8", ("conv_5", "int8"), ("gemm_12", "int8")),
        ("model.int8.tensorrt8.onnx", "int8", ("conv_4", "int8"), ("gemm_11", "int8")),
    ],
)
def test_layers_run_in_the_precision_of_the_graph(
    converted: Path,
    tmp_path: Path,
    file: str,
    precision: Precision,
    conv: tuple[str, str],
    dense: tuple[str, str],
) -> None:
    report = report_of(converted / file, tmp_path, precision)
    executed = {node: layer for layer in report.layers if layer.requested for node in layer.nodes}
    for node, expected in (conv, dense):
        assert executed[node].executed == executed[node].requested == expected
    assert mismatches(report.layers) == ()
    assert report.remarks == ()


def test_bfloat16_is_pooled_in_float32_which_the_next_kernel_reads(
    converted: Path, tmp_path: Path
) -> None:
    """In RTX 1.7, for one image."""
    report = report_of(converted / "model.bf16.onnx", tmp_path, "bf16")
    executed = {node: each.executed for each in report.layers for node in each.nodes}
    assert (executed["conv_2"], executed["maxpool_4"]) == ("bf16", "fp32")
    (found,) = mismatches(report.layers)
    assert (found.node, found.requested, found.executed) == ("gemm_6", "bf16", "fp32")


def test_what_kernels_write_and_how_many_there_are_is_told(converted: Path, tmp_path: Path) -> None:
    """In RTX 1.7, INT8 convolutions write float, which other kernels make INT8 of."""
    half = report_of(converted / "model.fp16.onnx", tmp_path, "fp16")
    int8 = report_of(converted / "model.int8.tensorrt.onnx", tmp_path, "int8")
    assert half.kernels == len(half.layers)
    assert int8.kernels == len(int8.layers)
    assert (half.kernels, int8.kernels) == (5, 7)
    written = [(each.nodes, each.written) for each in int8.layers if each.requested]
    assert written == [(("conv_5",), "fp32"), (("gemm_12",), "fp16")]
    assert [each.executed for each in int8.layers if each.written == "int8"].count("fp32") == 2


def test_a_layer_that_runs_wider_than_asked_is_named_as_in_the_graph(
    converted: Path, tmp_path: Path
) -> None:
    turing = TensorRT(compute_capabilities=("7.5",))  # its INT8 convolutions are not in RTX
    report = report_of(converted / "model.int8.tensorrt.onnx", tmp_path, "int8", tensorrt=turing)
    assert [(each.node, each.requested, each.executed) for each in mismatches(report.layers)] == [
        ("conv_5", "int8", "fp16")
    ]


@pytest.mark.parametrize("capabilities", [(), ("8.9",), ("7.5", "8.0", "12.0")])
def test_engines_are_built_for_the_gpus_that_are_asked_for(
    converted: Path, tmp_path: Path, capabilities: tuple[Any, ...]
) -> None:
    wanted = TensorRT(compute_capabilities=capabilities)
    source = converted / "model.fp16.onnx"
    report_of(source, tmp_path, "fp16", tensorrt=wanted, batch_sizes=(8,))
    portable = (tmp_path / "fp16.rtx").stat().st_size
    assert (portable > 400_000) == ("7.5" in capabilities), "Turing has kernels of its own"


def test_every_batch_size_has_a_profile_of_its_own(
    converted: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="tensorrt")
    report_of(converted / "model.fp32.onnx", tmp_path, batch_sizes=(6, 1))
    message = "".join(text for text in caplog.messages if "ProfileInfo: [ { MinShape" in text)
    for size in (1, 6, 8):
        shape = f"[{size},8,8,1]"
        assert f"MinShape: [1,8,8,1], OptShape: {shape}, MaxShape: {shape}" in message


def test_the_layers_are_those_of_the_first_profile(converted: Path, tmp_path: Path) -> None:
    source = converted / "model.int8.tensorrt.onnx"
    one = report_of(source, tmp_path, "int8", batch_sizes=(8,)).layers
    three = report_of(source, tmp_path, "int8", batch_sizes=(1, 4)).layers
    heavy = [[each.nodes for each in found if each.requested] for found in (one, three)]
    assert heavy[0] == heavy[1] == [("conv_5",), ("gemm_12",)]


def test_a_graph_for_one_batch_size_has_a_profile_of_that_alone() -> None:
    fixed = dataclasses.replace(SIGNATURE, batch_size=4)
    assert BuildRequest(fixed, "fp32", 64, (2,)).profiles == ((4, 4, 4),)
    assert BuildRequest(SIGNATURE, "fp32", 8, (16, 2)).profiles == ((1, 2, 2), (1, 8, 8))


@pytest.mark.skipif(gpu_blocker() is None, reason="this machine has NVIDIA's driver")
@pytest.mark.parametrize("name", ["refittable", "weight_stripped"])
def test_engines_that_rtx_builds_on_a_gpu_alone_are_refused_at_once(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / "none.onnx").write_bytes(b"no graph is read")
    with pytest.raises(EngineError) as caught:
        report_of(tmp_path / "none.onnx", tmp_path, tensorrt=TensorRT.model_validate({name: True}))
    assert caught.value.message == (
        f"tensorrt_rtx {trt.__version__} needs a GPU to build with tensorrt.{name}"
    )


def test_without_the_lean_runtime_no_version_compatible_build_begins(tmp_path: Path) -> None:
    (tmp_path / "none.onnx").write_bytes(b"no graph is read")
    wanted = TensorRT(version_compatible=True)
    with pytest.raises(EngineError) as caught:
        report_of(tmp_path / "none.onnx", tmp_path, tensorrt=wanted)
    assert caught.value.message == (  # RTX's package is without it
        "tensorrt.version_compatible needs libnvinfer_lean.so.1, which tensorrt_rtx comes without"
    )
    assert caught.value.hint == "leave it out: --set tensorrt.version_compatible=false"


def test_what_was_timed_is_kept_beside_the_engine(converted: Path, tmp_path: Path) -> None:
    """With TensorRT-RTX, which times nothing and says so, but has TensorRT's interface for it."""
    cache = tmp_path / "rtx.timing"
    request = BuildRequest(SIGNATURE, "fp32", max_batch_size=8)
    for _ in range(2):
        with pytest.warns(DeprecationWarning, match="Timing cache operations are no-ops"):
            trt_network.build(
                trt,
                converted / "model.fp32.onnx",
                tmp_path / "engine",
                request,
                timing_cache=cache,
            )
        assert cache.stat().st_size > 0


def test_a_timing_cache_that_is_missing_is_named(converted: Path, tmp_path: Path) -> None:
    wanted = TensorRT(timing_cache=tmp_path / "none.timing")
    request = BuildRequest(SIGNATURE, "fp32", tensorrt=wanted)
    out, cache = tmp_path / "engine", tmp_path / "rtx.timing"
    with pytest.raises(EngineError, match=r"no timing cache .*none\.timing"):
        trt_network.build(trt, converted / "model.fp32.onnx", out, request, timing_cache=cache)
    assert not out.exists()


def test_pixels_are_taken_as_they_are(tmp_path: Path) -> None:
    """A graph whose input is UINT8, as the convert stage writes it."""
    model = graph("fp16")
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    onnx.save(model, tmp_path / "pixels.onnx")
    pixels = dataclasses.replace(SIGNATURE, dtype="uint8")
    trt_network.build(
        trt, tmp_path / "pixels.onnx", tmp_path / "engine", BuildRequest(pixels, "fp16")
    )
    assert (tmp_path / "engine").stat().st_size > 1000


@pytest.fixture
def asymmetric(converted: Path, tmp_path: Path) -> Path:
    """The UINT8 graph with zero point 128, which TensorRT cannot compute."""
    model = onnx.load(converted / "model.int8.cpu.onnx")
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.uint8:
            tensor.CopyFrom(numpy_helper.from_array(np.full_like(values, 128), tensor.name))
    onnx.save(model, tmp_path / "asymmetric.onnx")
    return tmp_path / "asymmetric.onnx"


def test_a_graph_with_a_zero_point_is_refused_with_the_parsers_words(
    asymmetric: Path, tmp_path: Path
) -> None:
    with pytest.raises(EngineError, match=r"refuses asymmetric\.onnx: .*zero point") as caught:
        build(asymmetric, tmp_path, "int8")
    assert "quantizelinear_" in caught.value.message
    assert not (tmp_path / "int8.rtx").exists()


def test_every_error_of_the_parser_is_in_the_message(converted: Path, tmp_path: Path) -> None:
    model = onnx.load(converted / "model.fp32.onnx")
    for node in model.graph.node:
        if node.op_type in ("Relu", "MaxPool"):
            node.op_type, node.domain = f"Unknown{node.op_type}", "nowhere"
    del model.graph.value_info[:]
    onnx.save(model, tmp_path / "unknown.onnx")
    with pytest.raises(EngineError) as caught:
        build(tmp_path / "unknown.onnx", tmp_path)
    assert "UnknownRelu" in caught.value.message
    assert "UnknownMaxPool" in caught.value.message


def test_a_file_that_is_no_graph_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    with pytest.raises(EngineError, match=r"refuses broken\.onnx: .*parse"):
        build(tmp_path / "broken.onnx", tmp_path)


def test_a_graph_that_parses_but_cannot_be_built_is_refused_with_the_builders_words(
    converted: Path, tmp_path: Path
) -> None:
    model = onnx.load(converted / "model.fp32.onnx")
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "height"
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 9
    del model.graph.value_info[:]
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(EngineError, match=r"cannot build other\.onnx: .*\w"):
        build(tmp_path / "other.onnx", tmp_path)


def test_errors_of_one_build_are_not_in_the_message_of_the_next(
    asymmetric: Path, tmp_path: Path
) -> None:
    with pytest.raises(EngineError):
        build(asymmetric, tmp_path, "int8")
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    with pytest.raises(EngineError) as caught:
        build(tmp_path / "broken.onnx", tmp_path)
    assert "zero" not in caught.value.message


def test_a_file_that_is_no_engine_is_refused_with_what_tensorrt_said(tmp_path: Path) -> None:
    (tmp_path / "none.rtx").write_bytes(bytes(1000))
    with pytest.raises(
        EngineError, match=r"none\.rtx cannot be opened: .*\w.*; this machine has: tensorrt_rtx"
    ) as caught:
        trt_network.deserialize(trt, tmp_path / "none.rtx")
    assert "build" in caught.value.hint


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_engine_is_refused_with_its_name(
    converted: Path, tmp_path: Path, share: float
) -> None:
    whole = build(converted / "model.fp32.onnx", tmp_path)
    cut = tmp_path / "cut.rtx"
    cut.write_bytes(whole.read_bytes()[: int(share * whole.stat().st_size)])
    with pytest.raises(EngineError, match=r"cut\.rtx cannot be opened"):
        trt_network.deserialize(trt, cut)
