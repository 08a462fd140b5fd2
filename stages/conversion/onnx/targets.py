"""One set of ranges, one ONNX graph per target.

model.int8.tensorrt.onnx    signed INT8, float16 rest, float16 bias, opset 19
model.int8.tensorrt8.onnx   the same with a float32 rest, opset 17 (TensorRT 8.6)
model.int8.cpu.onnx         UINT8 activations with a zero point, INT8 kernels, INT32 bias, opset 17
model.fp8.onnx              E4M3, float16 rest, float16 bias, opset 19
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import onnx
import tensorflow as tf

from stages.artifacts.node_names import layer_of
from stages.artifacts.ranges import Range
from stages.artifacts.signature import Signature
from stages.conversion.onnx import clamps, dense, qdq
from stages.conversion.onnx.bare import at_opset, check, fill
from stages.conversion.onnx.export import OPSET, to_onnx
from stages.conversion.onnx.float8 import move_in_float
from stages.conversion.onnx.graph import Index
from stages.engines.registry import Target
from stages.keras_graph.fake_quant import execute
from stages.keras_graph.kernels import kernels_of
from stages.keras_graph.placement import Point, fed_layers, only
from stages.keras_graph.tracing import in_scopes, traceable
from stages.keras_graph.walk import alone, walk
from stages.numerics.qparams import INT8

FP8_OPSET = 19
"""The first with E4M3 in pairs."""
MARK = 2.0**-21
"""Difference of the scales that stand for the points on their way through tf2onnx, which drops all
names: from 1 on float32 can tell four million of them apart."""


def float_graph(model: keras.Model, signature: Signature, opset: int = OPSET) -> onnx.ModelProto:
    """The folded `model` as a float32 ONNX graph. Raises ConversionError."""
    visit = in_scopes(traceable)

    def forward(images: Any) -> Any:
        return alone(walk(model, keras.tree.flatten(images), visit))

    graph = to_onnx(forward, signature, opset, kernels_of(model))
    dense.fuse_dense(graph)
    name_nodes(graph)
    check(graph)
    return graph


def int8_graph(
    model: keras.Model,
    points: Mapping[str, Point],
    ranges: Mapping[str, Range],
    signature: Signature,
    target: Target,
    opset: int = OPSET,
) -> onnx.ModelProto:
    """The folded `model` as a Q/DQ graph for `target`, float32 between the pairs.

    That of FP8 has opset 19. Raises ConversionError.
    """
    wanted = only(points, target)
    marks = {name: 1 + number * MARK for number, name in enumerate(wanted)}
    graph = _marked(model, wanted, marks, signature, opset)
    if target == "fp8":
        newer = at_opset(graph, FP8_OPSET)
        fill(newer, Index(graph.graph).array)
        graph = newer
    # The order of these passes matters. First the names, while each scale still tells its point.
    qdq.name_pairs(graph, {name: _pair(ranges[name], marks[name], target) for name in wanted})
    # Before Dense layers: the Transpose and Reshape that they absorb may be inside a pair.
    qdq.adjoin(graph)
    if target == "fp8":
        move_in_float(graph)
    dense.fuse_dense(graph)
    name_nodes(graph)
    layers = {name for names in fed_layers(model, wanted).values() for name in names}
    qdq.sink_moves(graph)
    if target == "cpu":
        clamps.saturate(graph)
    # After name_nodes, whose names it uses, and before the kernels, which
    # only become INT8 behind a pair.
    qdq.repeat_pairs(graph, layers)
    if target == "fp8":
        qdq.quantize_kernels_to_fp8(graph, layers)
    else:
        qdq.quantize_kernels(graph, layers, bias="int32" if target == "cpu" else "float")
    check(graph)
    return graph


def _marked(
    model: keras.Model,
    points: Mapping[str, Point],
    marks: Mapping[str, float],
    signature: Signature,
    opset: int,
) -> onnx.ModelProto:
    """The folded `model` as a graph with a pair at each of `points`, whose scale is its mark.

    A symmetric pair for every target: it only has to carry the mark, and name_pairs gives it its
    scale and zero point (decision 7).
    """

    def quantize(point: Point, value: Any) -> Any:
        low, high = (limit * marks[point.name] for limit in (INT8.low, INT8.high))
        return tf.quantization.quantize_and_dequantize_v2(
            value, low, high, range_given=True, round_mode="HALF_TO_EVEN"
        )

    visit = in_scopes(traceable)

    def forward(images: Any) -> Any:
        return execute(model, points, images, quantize, visit)

    return to_onnx(forward, signature, opset, kernels_of(model))


def _pair(found: Range, mark: float, target: Target) -> qdq.Pair:
    """UINT8 for ONNX Runtime, whose kernels take that; INT8 for TensorRT, which takes no other
    integers."""
    if target == "fp8":
        return qdq.Pair(mark, found.scale(target), np.zeros((), qdq.FLOAT8))
    kind, first = (np.uint8, 0) if target == "cpu" else (np.int8, INT8.low)
    zero_point = np.array(first - found.grid(target).low, kind)
    return qdq.Pair(mark, found.scale(target), zero_point)


def name_nodes(model: onnx.ModelProto) -> None:
    """Give the nodes with a kernel, in place, the names of their layers.

    So a layer that a report names is found in the graph; the second call of a shared layer
    gets ":2" at the end.
    """
    taken: set[str] = set()
    for node in model.graph.node:
        traces = [node.name, *node.output, *node.input[1:]]
        layer = next(filter(None, map(layer_of, traces)), None)
        if layer is not None and node.op_type in qdq.WEIGHTED:
            node.name, number = layer, 1
            while node.name in taken:
                number += 1
                node.name = f"{layer}:{number}"
            taken.add(node.name)
