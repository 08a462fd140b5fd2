"""One set of ranges, a graph per target: what each engine wants to be given.

model.int8.tensorrt.onnx    signed INT8, float16 rest, float16 bias, opset 19
model.int8.tensorrt8.onnx   the same with a float32 rest, opset 17 (TensorRT 8.6)
model.int8.cpu.onnx         UINT8 activations, INT8 kernels, INT32 bias, opset 17
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import onnx
import tensorflow as tf

from stages.keras_graph.fake_quant import execute
from stages.keras_graph.placement import Point, only
from stages.keras_graph.walk import Call, apply, walk
from stages.onnx_graph import dense, qdq
from stages.onnx_graph.export import to_onnx
from stages.ranges import Range, Target
from stages.signature import Signature


def static_flatten(call: Call, *args: Any, **kwargs: Any) -> Any:
    """The visit for export: Flatten with a constant shape, where Keras would compute it."""
    if isinstance(call.operation, keras.layers.Flatten):
        return tf.reshape(args[0], (-1, call.outputs[0].shape[-1]))
    return apply(call, *args, **kwargs)


def float_graph(model: keras.Model, signature: Signature) -> onnx.ModelProto:
    """The folded `model` as a float32 ONNX graph. Raises ConversionError."""
    graph = to_onnx(lambda image: walk(model, [image], static_flatten)[0], signature)
    dense.fuse_dense(graph)
    onnx.checker.check_model(graph, full_check=True)
    return graph


def int8_graph(
    model: keras.Model,
    points: Mapping[str, Point],
    ranges: Mapping[str, Range],
    signature: Signature,
    target: Target,
) -> onnx.ModelProto:
    """The folded `model` as a Q/DQ graph for `target`, float32 between the pairs.

    Raises ConversionError.
    """
    wanted = only(points, target)

    def quantize(point: Point, value: Any) -> Any:
        low, high = ranges[point.name].limits(target)
        return tf.quantization.quantize_and_dequantize_v2(
            value, low, high, signed_input=low < 0, range_given=True, round_mode="HALF_TO_EVEN"
        )

    graph = to_onnx(
        lambda image: execute(model, wanted, image, quantize, static_flatten), signature
    )
    qdq.adjoin(graph)
    dense.fuse_dense(graph)
    qdq.repeat_at_inputs(graph)
    qdq.quantize_kernels(graph, bias="int32" if target == "cpu" else "float")
    if target == "cpu":
        qdq.to_unsigned(graph)
    onnx.checker.check_model(graph, full_check=True)
    return graph
