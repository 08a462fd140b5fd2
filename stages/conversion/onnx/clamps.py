"""Minima and maxima with constants in front of quantizers, for engines to compute in integers.

A quantizer saturates. A bound that leaves all of its steps is left out, so that the kernel in front
of it is fused with the quantizer. Any other one gets a pair on its other side as well: with Q the
quantizer, Q(min(Q(x), b)) = Q(min(x, b)) for every x, since both are monotone. The bound may then
lie anywhere within half a step of the value that it is rounded to.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from stages.conversion.onnx.graph import Index, drop_unused, set_constant, sort
from stages.conversion.onnx.qdq import REPEATED, WEIGHTED

PAST = 0.25
"""Steps by which a bound is past the value that it is rounded to. OpenVINO 2026.4 rounds bounds in
integers down: 0.4 at a scale of 0.0202 to 19 steps and not 20."""


ENDS = {"Max": 0, "Min": 1}
"""The bound that a node has, of the lowest and the highest."""


def saturate(model: onnx.ModelProto) -> None:
    """Leave out or move, in place, the bounds between a kernel or a pair and a UINT8 quantizer."""
    graph = model.graph
    for quantizer in [node for node in graph.node if node.op_type == "QuantizeLinear"]:
        index = Index(graph)
        scale, zero = (index.array(name) for name in quantizer.input[1:])
        limits = np.array([0, 255]) - int(zero)
        # From the quantizer upwards; `reader` reads what the nodes that stay make.
        reader, left = quantizer, list[onnx.NodeProto]()
        while (node := _bound_before(index, reader)) is not None:
            level = np.clip(np.round(index.array(node.input[1]).item() / scale), *limits)
            if level == limits[ENDS[node.op_type]]:
                reader.input[0] = node.input[0]
                graph.node.remove(node)
                continue
            bound = np.array((level + PAST) * scale, np.float32)
            node.input[1] = set_constant(graph, f"{quantizer.name}.bound{len(left)}", bound)
            left.append(node)
            reader = node
        before = index.producer.get(reader.input[0])
        if left and before is not None and before.op_type in (*WEIGHTED, "Relu"):
            _put_pair(graph, reader, quantizer)
    del graph.value_info[:]
    sort(graph)
    drop_unused(graph)


def _bound_before(index: Index, reader: onnx.NodeProto) -> onnx.NodeProto | None:
    """The minimum or maximum with a single number that `reader` alone reads."""
    node = index.producer.get(reader.input[0])
    if node is None or node.op_type not in ENDS or not index.only_consumer(reader.input[0]):
        return None
    is_number = node.input[1] in index.constants and index.array(node.input[1]).size == 1
    return node if is_number else None


def _put_pair(graph: onnx.GraphProto, clip: onnx.NodeProto, quantizer: onnx.NodeProto) -> None:
    """One in front of `clip`, of the scale and the zero point of the `quantizer` behind it."""
    name, inputs = f"{quantizer.name}d_before", quantizer.input[1:]
    steps, real = f"{name}_repeated_q", f"{name}{REPEATED}"
    graph.node.extend(
        [
            helper.make_node("QuantizeLinear", [clip.input[0], *inputs], [steps], steps),
            helper.make_node("DequantizeLinear", [steps, *inputs], [real], real),
        ]
    )
    clip.input[0] = real
