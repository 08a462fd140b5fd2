"""What FP8 graphs need beside E4M3 in place of INT8."""

from __future__ import annotations

import onnx
from onnx import helper

from stages.conversion.onnx.graph import sort
from stages.conversion.onnx.qdq import REPEATED


def move_in_float(model: onnx.ModelProto) -> None:
    """Dequantize, in place, before what only moves E4M3 values, and quantize again behind it.

    Q - Transpose - Concat - DQ becomes Q - DQ - Transpose - Concat - Q - DQ with the same scale: no
    operator of opset 19 takes E4M3 but these two (ONNX operator schemas). The values are on its
    grid already, so that nothing is rounded.
    """
    graph = model.graph
    sort(graph)
    scales = {n.output[0]: n.input[1:] for n in graph.node if n.op_type == "QuantizeLinear"}
    moved, new = set[str](), dict[str, onnx.NodeProto]()
    for node in graph.node:
        if node.op_type == "DequantizeLinear":
            if node.input[0] in moved:
                again = f"{node.name}_again"
                new[again] = helper.make_node("QuantizeLinear", node.input, [again], again)
                node.input[0] = again
        elif not moved.isdisjoint(node.input) or not scales.keys().isdisjoint(node.input):
            moved.update(node.output)
            for name in scales.keys() & {*node.input}:
                real = f"{name}{REPEATED}"
                inputs = [name, *scales[name]]
                new[real] = helper.make_node("DequantizeLinear", inputs, [real], real)
            node.input[:] = [f"{each}{REPEATED}" if each in scales else each for each in node.input]
    graph.node.extend(new.values())
    del graph.value_info[:]
    sort(graph)
