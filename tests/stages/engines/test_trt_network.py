"""Real builds with TensorRT-RTX, whose builder needs no GPU."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from stages.engines import trt_network
from stages.engines.base import BuildRequest
from stages.errors import EngineError
from stages.settings import Precision
from tests.stages.graphs import SIGNATURE

trt = pytest.importorskip("tensorrt_rtx", reason="the package tensorrt-rtx is not installed")


def build(source: Path, folder: Path, precision: Precision = "fp32") -> Path:
    out = folder / f"{precision}.rtx"
    trt_network.build(trt, source, out, BuildRequest(SIGNATURE, precision, max_batch_size=8))
    return out


def kernels(messages: list[str]) -> dict[str, tuple[set[str], set[str]]]:
    """Kind of kernel -> data types of its inputs and of its constants.

    They come from the builder's message "Layers:", the only account of an engine that needs
    no GPU.
    """
    found = {}
    text = [message for message in messages if message.startswith("Layers:")][-1]
    for line in text.splitlines():
        kind = re.search(r", LayerType: (\w+),", line)
        if kind:
            parts = re.split(r"(?:Inputs|Constants|Outputs): ", line)
            inputs, constants = (set(re.findall(r"Datatype: (\w+)", part)) for part in parts[1:3])
            found[kind[1]] = inputs, constants
    return found


def network(*names: str) -> Any:
    """A TensorRT that knows these network flags."""
    flags = SimpleNamespace(**{name: index for index, name in enumerate(names)})
    return SimpleNamespace(NetworkDefinitionCreationFlag=flags)


ELIGIBLE = "(Sparsity) Layers eligible for sparse math: Conv_22, Conv_24 + Relu_25, Gemm_725"
PICKED = "(Sparsity) TRT inference plan picked sparse implementation for layers:"


@pytest.mark.parametrize(
    ("messages", "verdict"),
    [
        ([], ""),
        (["(Sparsity) Layers eligible for sparse math: ", PICKED], ""),
        (
            [ELIGIBLE, PICKED],
            "0 of 3 layers with 2:4 weights took a sparse kernel, dense ones were faster",
        ),
        (
            [ELIGIBLE, f"{PICKED} Conv_24 + Relu_25"],
            "1 of 3 layers with 2:4 weights took a sparse kernel: Conv_24 + Relu_25",
        ),
    ],
)
def test_what_tensorrt_says_about_sparse_kernels_becomes_a_verdict(
    messages: list[str], verdict: str
) -> None:
    assert trt_network.sparsity_verdict(messages) == verdict


@pytest.mark.parametrize(
    ("names", "strongly_typed", "flags"),
    [
        (("EXPLICIT_BATCH", "EXPLICIT_PRECISION"), False, 0b01),  # 8.6
        (("EXPLICIT_BATCH", "STRONGLY_TYPED"), True, 0b10),  # 10
        (("STRONGLY_TYPED",), True, 0b1),  # 11
    ],
)
def test_versions_are_told_apart_by_the_names_of_their_network_flags(
    names: tuple[str, ...], strongly_typed: bool, flags: int
) -> None:
    assert trt_network.is_strongly_typed(network(*names)) is strongly_typed
    assert trt_network.network_flags(network(*names)) == flags


def test_tensorrt_rtx_is_strongly_typed() -> None:
    assert trt_network.is_strongly_typed(trt)
    flag = trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED
    assert trt_network.network_flags(trt) == 1 << int(flag)


@pytest.mark.parametrize(
    ("file", "precision", "expected"),
    [
        ("model.fp32.onnx", "fp32", {"correlation": "Float"}),
        ("model.fp16.onnx", "fp16", {"correlation": "Half"}),
        ("model.int8.tensorrt.onnx", "int8", {"correlation": "Int8", "gemm": "Int8"}),
        ("model.int8.tensorrt8.onnx", "int8", {"correlation": "Int8", "gemm": "Int8"}),
    ],
)
def test_layers_run_in_the_precision_of_the_graph(
    converted: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    file: str,
    precision: Precision,
    expected: dict[str, str],
) -> None:
    caplog.set_level(logging.DEBUG, logger="tensorrt")
    assert build(converted / file, tmp_path, precision).stat().st_size > 1000
    for kind, data_type in expected.items():
        inputs, constants = kernels(caplog.messages)[kind]
        assert inputs == {data_type}
        assert data_type in constants


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


def test_all_builders_of_a_process_share_one_logger() -> None:
    assert trt_network.logger(trt) is trt_network.logger(trt)


def test_a_file_that_is_no_engine_is_refused_with_what_tensorrt_said(tmp_path: Path) -> None:
    (tmp_path / "none.rtx").write_bytes(bytes(1000))
    with pytest.raises(EngineError, match=r"cannot open none\.rtx: .*\w") as caught:
        trt_network.deserialize(trt, tmp_path / "none.rtx")
    assert "build" in caught.value.hint
