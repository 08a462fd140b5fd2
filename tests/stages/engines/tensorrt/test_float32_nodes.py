"""TensorRT 8.6 is not to be had here: its layers are objects that note what is asked of them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx

from stages.conversion.onnx.float16 import to_float16
from stages.engines.tensorrt import float32_nodes
from tests.stages.graphs import write_converted


class Layer:
    """What trt.ILayer has of precision."""

    def __init__(self, name: str, made: str = "float32") -> None:
        self.name, self.precision, self.num_outputs, self.made = name, "any", 1, made
        self.outputs: dict[int, str] = {}

    def get_output(self, index: int) -> SimpleNamespace:
        return SimpleNamespace(dtype=self.made)

    def set_output_type(self, index: int, kind: str) -> None:
        self.outputs[index] = kind


def held_graph(folder: Path) -> list[str]:
    """A float16 graph in which the first convolution stays float32; the names of all its nodes."""
    write_converted(folder)
    plain = onnx.load(folder / "model.fp32.onnx")
    conv = next(node for node in plain.graph.node if node.op_type == "Conv")
    onnx.save(to_float16(plain, {conv.output[0]}), folder / "held.onnx")
    return [conv.name, *(node.name for node in plain.graph.node if node.name != conv.name)]


def test_the_typed_graph_says_which_nodes_stay_float32(tmp_path: Path) -> None:
    conv, *others = held_graph(tmp_path)
    found = float32_nodes.read(tmp_path / "held.onnx")
    assert found[conv] is False
    assert not set(found) & set(others)
    assert conv not in float32_nodes.read(tmp_path / "model.fp16.onnx")
    assert float32_nodes.read(tmp_path / "missing.onnx") == {}


def test_their_layers_are_constrained_and_no_other() -> None:
    conv, quantized, other = Layer("conv"), Layer("quantized"), Layer("other")
    bias, shape = (
        Layer(f"(Unnamed Layer* {n}) [..]", made) for n, made in ((1, "float32"), (2, "int32"))
    )
    layers = [conv, bias, shape, quantized, other, Layer("(Unnamed Layer* 5) [..]")]
    network = SimpleNamespace(num_layers=len(layers), get_layer=layers.__getitem__)
    flags: list[str] = []
    trt: Any = SimpleNamespace(
        float32="float32", BuilderFlag=SimpleNamespace(OBEY_PRECISION_CONSTRAINTS="obey")
    )
    config = SimpleNamespace(set_flag=flags.append)
    held = float32_nodes.hold(trt, network, config, {"conv": False, "quantized": True})
    assert held == ["conv", bias.name, "quantized"]
    for layer in (conv, bias):
        assert (layer.precision, layer.outputs) == ("float32", {0: "float32"})
    assert (shape.precision, shape.outputs) == ("any", {})
    # It goes on reading INT8.
    assert (quantized.precision, quantized.outputs) == ("any", {0: "float32"})
    assert (other.precision, other.outputs) == ("any", {})
    assert flags == ["obey"]
    assert float32_nodes.hold(trt, network, config, {}) == []
    assert flags == ["obey"]
