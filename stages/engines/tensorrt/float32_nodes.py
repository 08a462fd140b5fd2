"""What must not compute in float16 where a flag allows it everywhere: TensorRT 8.6.

Strongly typed networks have it in their graph. The flag takes the untyped graph, and layers are
held back one by one; which ones is read off the typed graph of the same precision beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stages.engines.layers import requested

TYPELESS = ("Cast", "Constant", "QuantizeLinear", "DequantizeLinear")
"""Operators that compute nothing: their types follow from what they stand between."""
UNNAMED = "(Unnamed Layer"
"""How TensorRT names a layer that its parser gave no name."""


def read(typed: Path) -> dict[str, bool]:
    """The nodes of a typed graph that compute in float32, and whether each reads INT8.

    Empty where there is no such file, as from a convert stage of an earlier version.
    """
    import onnx

    if not typed.is_file():
        return {}
    graph = onnx.load(typed)
    inferred = onnx.shape_inference.infer_shapes(graph).graph
    known = (*inferred.value_info, *inferred.output)
    types = {value.name: value.type.tensor_type.elem_type for value in known}
    asked = requested(graph)
    return {
        node.name: asked.get(node.name) == "int8"
        for node in graph.graph.node
        if types.get(node.output[0]) == onnx.TensorProto.FLOAT and node.op_type not in TYPELESS
    }


def hold(trt: Any, network: Any, config: Any, nodes: dict[str, bool]) -> list[str]:
    """Constrain the layers of these nodes to float32; those that read INT8 only write it.

    Returns the names of the layers. A build that cannot obey fails.
    """
    held, reads_int8 = [], None
    for layer in (network.get_layer(index) for index in range(network.num_layers)):
        # The first layer of a node has its name; those behind it, as for a bias, have none.
        if not layer.name.startswith(UNNAMED):
            reads_int8 = nodes.get(layer.name)
        outputs = range(layer.num_outputs)
        floats = [index for index in outputs if layer.get_output(index).dtype == trt.float32]
        if reads_int8 is None or not floats:
            continue
        if not reads_int8:
            layer.precision = trt.float32
        for index in floats:
            layer.set_output_type(index, trt.float32)
        held.append(layer.name)
    if held:
        config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    return held
