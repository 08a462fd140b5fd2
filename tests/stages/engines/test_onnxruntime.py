from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from stages.artifacts.signature import Signature
from stages.engines import onnxruntime
from stages.engines.base import BuildRequest
from stages.errors import EngineError
from tests.stages.graphs import SIGNATURE, images, reference

BATCH = SIGNATURE.preprocess(images(16))


def built(source: Path, out: Path, signature: Signature = SIGNATURE) -> Path:
    onnxruntime.build(source, out / "engine.onnx", BuildRequest(signature, "fp32"))
    return out / "engine.onnx"


def operators(file: Path) -> list[str]:
    return [node.op_type for node in onnx.load(file).graph.node]


def test_nothing_blocks_it_where_the_package_is_installed() -> None:
    assert onnxruntime.build_blocker() is None
    assert onnxruntime.run_blocker() is None


def test_the_engine_file_is_fused_and_its_int8_convolution_has_no_float_left(
    converted: Path, tmp_path: Path
) -> None:
    file = built(converted / "model.int8.cpu.onnx", tmp_path)
    assert operators(file).count("QLinearConv") == 1
    assert not {"Conv", "Relu"} & set(operators(file))


def test_the_engine_file_holds_nothing_that_only_this_cpu_can_run(
    converted: Path, tmp_path: Path
) -> None:
    file = built(converted / "model.fp32.onnx", tmp_path)
    domains = {node.domain for node in onnx.load(file).graph.node}
    assert "FusedConv" in operators(file)
    assert "com.microsoft.nchwc" not in domains


def test_the_int8_engine_agrees_with_the_meaning_of_its_graph(
    converted: Path, tmp_path: Path
) -> None:
    file = built(converted / "model.int8.cpu.onnx", tmp_path)
    with onnxruntime.Runner(file, SIGNATURE) as engine:
        np.testing.assert_allclose(engine.infer(BATCH), reference("int8.cpu", BATCH), atol=0.03)


@pytest.mark.parametrize(
    ("kind", "tolerance"),
    [
        ("fp32", 1e-5),
        ("fp16", 5e-3),  # sums are taken in float32 here, in float16 there
        ("int8.cpu", 1e-5),
        ("int8.tensorrt8", 1e-5),
        ("int8.tensorrt", 0.05),  # and then some values fall on the next level
    ],
)
def test_interpreting_a_graph_gives_what_its_nodes_mean(
    converted: Path, kind: str, tolerance: float
) -> None:
    file = converted / f"model.{kind}.onnx"
    logits = onnxruntime.interpret(file, SIGNATURE, images(16))
    np.testing.assert_allclose(logits, reference(kind, BATCH), atol=tolerance)


def test_zero_padding_before_a_maximum_stays_zero(tmp_path: Path) -> None:
    """ONNX Runtime's Pad_Fusion makes it minus infinity: all pixels are negative here."""
    nodes = [
        helper.make_node("Transpose", ["image"], ["x"], perm=[0, 3, 1, 2]),
        helper.make_node("Pad", ["x", "pads"], ["padded"]),
        helper.make_node("MaxPool", ["padded"], ["pooled"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["pooled"], ["logits"]),
    ]
    pads = numpy_helper.from_array(np.array([0, 0, 1, 1, 0, 0, 1, 1]), "pads")
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 2, 2, 1])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 4])
    graph = helper.make_graph(nodes, "padded", [image], [logits], [pads])
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), tmp_path / "pad.onnx")
    signature = Signature((2, 2, 1), ("a", "b", "c", "d"), 1.0, 0.0)
    file = built(tmp_path / "pad.onnx", tmp_path, signature)
    with onnxruntime.Runner(file, signature) as engine:
        negative = np.full((1, 2, 2, 1), -1, np.float32)
        np.testing.assert_array_equal(engine.infer(negative), np.zeros((1, 4)))


def test_a_graph_that_is_none_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    with pytest.raises(EngineError, match=r"cannot load broken\.onnx"):
        built(tmp_path / "broken.onnx", tmp_path)


def test_results_do_not_depend_on_the_number_of_threads(converted: Path, tmp_path: Path) -> None:
    file = built(converted / "model.fp32.onnx", tmp_path)
    with (
        onnxruntime.Runner(file, SIGNATURE, 1) as one,
        onnxruntime.Runner(file, SIGNATURE, 2) as two,
    ):
        np.testing.assert_allclose(one.infer(BATCH), two.infer(BATCH), rtol=1e-5, atol=1e-5)


def test_building_tells_which_nodes_became_integer_kernels(converted: Path, tmp_path: Path) -> None:
    source = converted / "model.int8.cpu.onnx"
    report = onnxruntime.build(source, tmp_path / "e.onnx", BuildRequest(SIGNATURE, "int8"))
    layers = {layer.kind: (layer.requested, layer.executed) for layer in report.layers}
    assert layers["QLinearConv"] == ("int8", "int8")
    exact = onnxruntime.build(
        converted / "model.fp32.onnx", tmp_path / "f.onnx", BuildRequest(SIGNATURE, "fp32")
    )
    assert {(layer.requested, layer.executed) for layer in exact.layers} == {("fp32", "fp32")}
    assert len(exact.layers) == 2
