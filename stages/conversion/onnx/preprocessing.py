"""Raw pixels as the input of a graph: normalisation becomes part of it, where possible of nodes
that are there already.

1. A QuantizeLinear whose steps are the pixels themselves goes: the integers are the input.
2. Before any other QuantizeLinear it becomes part of the scale, in float32 also in FP16 graphs.
3. Before a float32 convolution it becomes part of the kernel.
4. Else the graph computes pixel * scale + offset in float32.

2 and 3 need an offset of 0.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from stages.artifacts.signature import Signature
from stages.conversion.onnx.bare import check
from stages.conversion.onnx.graph import Array, Index, drop_unused, set_constant, sort
from stages.conversion.onnx.qdq import MOVES_VALUES
from stages.numerics.qparams import Grid, quantize

PIXELS = np.arange(256)


def prepend_preprocessing(model: onnx.ModelProto, signature: Signature) -> onnx.ModelProto:
    """A copy of `model`, a graph with preprocessed float32 inputs, that takes uint8 (N, H, W, C).

    An input whose dtype in the signature is float32 stays as it is.
    """
    taken = onnx.ModelProto()
    taken.CopyFrom(model)
    graph = taken.graph
    values = {value.name: value for value in graph.input}
    sources = [own for own in signature.each_input if own.dtype == "uint8"]
    for own in sources:
        values[own.input_name].type.tensor_type.elem_type = TensorProto.UINT8
        for quantizer in _quantizers(graph, own.input_name):
            _quantize_pixels(graph, quantizer, own)
        # What the quantizers left behind would otherwise count as a reader of the float image
        # below, and the graph would normalise for nobody.
        drop_unused(graph)
        _normalise(graph, own)
        sort(graph)
    if sources:
        del graph.value_info[:]
        check(taken)
    return taken


def _quantizers(graph: onnx.GraphProto, image: str) -> list[onnx.NodeProto]:
    """The QuantizeLinear nodes of the image, also behind the Cast of an FP16 graph."""
    index, found = Index(graph), list[onnx.NodeProto]()
    for reader in index.consumers.get(image, []):
        behind = index.consumers.get(reader.output[0], []) if reader.op_type == "Cast" else []
        found += [node for node in (reader, *behind) if node.op_type == "QuantizeLinear"]
    return found


def _quantize_pixels(graph: onnx.GraphProto, node: onnx.NodeProto, signature: Signature) -> None:
    """Rules 1 and 2 for the QuantizeLinear `node`."""
    image, index = signature.input_name, Index(graph)
    scale, zero_point = index.array(node.input[1]).astype(np.float32), index.array(node.input[2])
    is_integer = zero_point.dtype.kind in "iu"
    if is_integer and np.array_equal(_levels(scale, zero_point, signature), PIXELS):
        for reader in index.consumers.get(node.output[0], []):
            reader.input[:] = [image if name == node.output[0] else name for name in reader.input]
    elif signature.offset == 0:
        as_float = f"{image}_float"
        if as_float not in index.producer:
            cast = helper.make_node("Cast", [image], [as_float], as_float, to=TensorProto.FLOAT)
            graph.node.insert(0, cast)
        per_pixel = np.asarray(scale / np.float32(signature.scale))
        node.input[0] = as_float
        node.input[1] = set_constant(graph, f"{node.input[1]}_of_pixels", per_pixel)


def _levels(scale: Array, zero_point: Array, signature: Signature) -> Array:
    """What each of the 256 pixels is quantized to: int32 (256,)."""
    limits, zero = np.iinfo(zero_point.dtype), int(zero_point)
    normal = signature.preprocess(PIXELS.astype(np.uint8))
    return quantize(normal, scale, Grid(limits.min - zero, limits.max - zero)) + zero


def _normalise(graph: onnx.GraphProto, signature: Signature) -> None:
    """Rules 3 and 4 for whatever still reads the image as a float."""
    image, index = signature.input_name, Index(graph)
    readers = [node for node in index.consumers.get(image, []) if _reads_float(node)]
    if not readers:
        return
    normal = f"{image}_normal"
    steps = [helper.make_node("Cast", [image], [normal], normal, to=TensorProto.FLOAT)]
    if not _fold_into_kernel(graph, readers, signature):
        factors = {"Mul": (signature.scale, 1.0), "Add": (signature.offset, 0.0)}
        for kind, (value, idle) in factors.items():
            if value != idle:
                name = f"{normal}_{kind}"
                constant = set_constant(graph, f"{name}_by", np.array(value, np.float32))
                steps.append(helper.make_node(kind, [steps[-1].output[0], constant], [name], name))
    for node in readers:
        node.input[:] = [steps[-1].output[0] if name == image else name for name in node.input]
    graph.node.extend(steps)


def _reads_float(node: onnx.NodeProto) -> bool:
    """False for what takes uint8: a pair that has become pixels, and the cast of rule 2."""
    return node.op_type != "DequantizeLinear" and not node.output[0].endswith("_float")


def _fold_into_kernel(
    graph: onnx.GraphProto, readers: list[onnx.NodeProto], signature: Signature
) -> bool:
    """Rule 3: multiply the float32 kernel of the only reader by the scale, if that is all."""
    index = Index(graph)
    node: onnx.NodeProto | None = readers[0] if len(readers) == 1 else None
    while node is not None and node.op_type in MOVES_VALUES:
        node = index.only_consumer(node.output[0])
    if node is None or node.op_type != "Conv" or signature.offset != 0:
        return False
    # An INT8 kernel is no initializer but the output of a DequantizeLinear.
    kernel = index.constants.get(node.input[1])
    if kernel is None or kernel.data_type != TensorProto.FLOAT:
        return False
    scaled = index.array(node.input[1]) * np.float32(signature.scale)
    node.input[1] = set_constant(graph, f"{node.input[1]}_of_pixels", np.asarray(scaled))
    return True
