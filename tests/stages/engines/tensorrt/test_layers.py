from __future__ import annotations

import json

import pytest

from stages.engines.layers import is_wider
from stages.engines.registry import Precision
from stages.engines.tensorrt import layers
from stages.results.engines import LayerFacts

TENSOR = (
    "{{ Name: {0}, Dimensions: [{1}], Strides: [1], StrideOrder: [0], "
    "Datatype: {2}, Format: (Linear) }}"
)


def line(
    kind: str,
    inputs: list[tuple[str, str]],
    constants: list[tuple[str, str]],
    nodes: list[str],
    tactic: str = "some_tactic",
    outputs: tuple[str, ...] = (),
) -> str:
    """A line of the builder's message, as TensorRT-RTX 1.7 writes it."""

    def tensors(pairs: list[tuple[str, str]]) -> str:
        text = ", ".join(TENSOR.format("t", *pair) for pair in pairs)
        return f"[ {text}]" if pairs else "[]"

    metadata = "".join(f"[ONNX Layer: {node}]" for node in nodes)
    return (
        f"Name: {kind}_1, LayerType: {kind}, Inputs: {tensors(inputs)}, "
        f"Constants: {tensors(constants)}, Outputs: {tensors([('1', each) for each in outputs])}, "
        f"TacticName: {tactic}, StreamId: 0, "
        f"Metadata: {metadata}"
    )


ACTIVATION, KERNEL, BIAS = "-1,16,6,6", "16,16,3,3", "1,16,1,1"


@pytest.mark.parametrize(
    ("kind", "inputs", "constants", "executed"),
    [
        ("correlation", ["Int8"], [(KERNEL, "Int8"), (BIAS, "Float")], "int8"),
        ("correlation", ["Int8", "Half"], [(KERNEL, "Int8")], "int8"),  # a residual is added
        ("correlation", ["Half", "Half"], [(BIAS, "Float")], "fp16"),  # weights came dequantized
        ("correlation", ["Int8"], [(KERNEL, "Half")], "fp16"),
        ("gemm", ["Float"], [("16,4", "Float")], "fp32"),
        ("gemm", ["Int8", "Int8"], [("1", "Float")], "int8"),  # of two activations
        ("kgen", ["Float", "Int8"], [(BIAS, "Half")], "fp32"),
        ("kgen", ["Half"], [], "fp16"),
        ("kgen", [], [(KERNEL, "Int8")], "int8"),
        ("kgen", ["UInt8"], [], "uint8"),  # raw pixels
        ("correlation", ["UInt8"], [(KERNEL, "Half")], "fp16"),
        ("kgen", ["Bool"], [], "unknown"),
    ],
)
def test_what_a_kernel_computes_in_follows_from_its_inputs_and_weights(
    kind: str, inputs: list[str], constants: list[tuple[str, str]], executed: str
) -> None:
    text = line(kind, [(ACTIVATION, each) for each in inputs], constants, ["conv"])
    (kernel,) = layers.from_message(f"Layers:\n{text}\n\nI/O Tensors:\n Name: image")
    assert kernel.executed == executed


def test_nodes_and_tactic_of_a_line() -> None:
    text = line("gemm", [("1", "Half")], [], ["a/MatMul", "a/Add[0]", "a/MatMul"], tactic="")
    (kernel,) = layers.from_message(text)
    assert (kernel.nodes, kernel.tactic) == (("a/MatMul", "a/Add[0]"), None)


@pytest.mark.parametrize(
    ("outputs", "written"),
    [(("Float",), "fp32"), (("Int8",), "int8"), (("Int8", "Half"), "fp16"), ((), None)],
)
def test_what_a_kernel_writes_is_its_widest_output(
    outputs: tuple[str, ...], written: str | None
) -> None:
    conv = line("correlation", [("1", "Int8")], [(KERNEL, "Int8")], ["conv"], outputs=outputs)
    (found,) = layers.layers(layers.from_message(conv), ASKED)
    assert (found.executed, found.written) == ("int8", written)


ASKED: dict[str, Precision] = {"conv": "int8"}


def test_a_node_is_asked_of_in_the_kernel_that_does_its_work() -> None:
    before = line("kgen", [(ACTIVATION, "Float")], [], ["quantize", "conv"])
    conv = line("correlation", [(ACTIVATION, "Int8")], [(KERNEL, "Int8")], ["conv", "dequantize"])
    found = layers.layers(layers.from_message(f"{before}\n{conv}"), ASKED)
    assert [layer.requested for layer in found] == [None, "int8"]
    assert found[1] == LayerFacts(
        name="correlation_1",
        nodes=("conv",),
        kind="correlation",
        requested="int8",
        executed="int8",
        tactic="some_tactic",
    )


def test_a_node_without_a_kernel_of_its_own_is_asked_of_where_it_is() -> None:
    fused = line("kgen", [(ACTIVATION, "Float")], [], ["quantize", "conv"])
    (layer,) = layers.layers(layers.from_message(fused), ASKED)
    assert (layer.requested, layer.executed, is_wider(layer)) == ("int8", "fp32", True)


INSPECTED = {
    "Layers": [
        {
            "Name": "Reformatting CopyNode for Input Tensor 0 to conv + relu",
            "LayerType": "Reformat",
            "Inputs": [{"Name": "image", "Format/Datatype": "Row major linear FP32"}],
            "Outputs": [{"Name": "x", "Format/Datatype": "Row major Int8 format"}],
            "TacticValue": "0x00000000000003e8",
            "Metadata": "",
        },
        {
            "Name": "conv + relu",
            "LayerType": "CaskConvolution",
            "Inputs": [
                {
                    "Name": "x",
                    "Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format",
                }
            ],
            "Outputs": [],
            "Weights": {"Type": "Int8", "Count": 131072},
            "TacticName": "sm80_xmma_fprop_implicit_gemm",
            "Metadata": "[ONNX Layer: conv]\x1f[ONNX Layer: relu]",
        },
        {
            "Name": "dense",
            "LayerType": "CaskGemmMatrixMultiply",
            "Inputs": [{"Name": "y", "Format": "Linear", "Datatype": "Half"}],
            "Outputs": [],
            "Weights": {"Type": "Half", "Count": 10},
        },
        "a name without detail",
    ]
}
"""Engine inspector JSON in the words of TensorRT 8.6 (issue 4020 of github.com/NVIDIA/TensorRT)."""


def test_the_inspectors_account_is_read_in_the_words_of_several_versions() -> None:
    kernels = layers.from_inspector(json.dumps(INSPECTED))
    asked: dict[str, Precision] = {"conv": "int8", "dense": "int8"}
    reformat, conv, dense = layers.layers(kernels, asked)
    assert (reformat.requested, reformat.executed, reformat.written) == (None, "fp32", "int8")
    assert conv == LayerFacts(
        name="conv + relu",
        nodes=("conv",),
        kind="CaskConvolution",
        requested="int8",
        executed="int8",
        tactic="sm80_xmma_fprop_implicit_gemm",
    )
    assert (dense.nodes, dense.executed, is_wider(dense)) == (("dense",), "fp16", True)


def test_names_with_control_characters_and_tensors_without_a_type_are_read() -> None:
    """TensorRT writes what stands between the nodes of a fused layer as it is."""
    both = "[ONNX Layer: conv]\x1e[ONNX Layer: relu]\x1f[ONNX Layer: add]"
    entry = {"Name": "fused", "LayerType": "gemm", "Inputs": [{"Name": "x"}], "Metadata": both}
    text = json.dumps({"Layers": [entry, {"Name": "bare"}]})
    raw = text.replace("\\u001e", "\x1e").replace("\\u001f", "\x1f")
    assert "\x1e" in raw
    fused, bare = layers.from_inspector(raw)
    assert fused.nodes == ("conv", "relu", "add")
    assert (fused.inputs, fused.executed) == ((), "unknown")
    assert (bare.nodes, bare.kind) == (("bare",), "")
