"""A float32 graph as a float16 or bfloat16 graph with float32 input and output.

Strongly typed TensorRT takes every precision from the graph: FP16 and BF16 have to be in the ONNX.
Q/DQ scales may be float16 from opset 19 on, convolutions and pools bfloat16 from opset 22 on. What
float16 cannot hold (overflow.py) stays float32.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from stages.conversion.onnx.bare import at_opset, check, fill, infer_shapes, key_of
from stages.conversion.onnx.graph import Array, Index, drop_unused, set_constant, sort
from stages.conversion.onnx.qdq import COPY

OPSET, BFLOAT16_OPSET = 19, 22
LARGEST: dict[int, float] = {
    TensorProto.FLOAT16: 65504.0,
    TensorProto.BFLOAT16: 2.0**128 - 2.0**120,
}
"""The largest finite number of each type."""


def to_float16(model: onnx.ModelProto, held: Collection[str] = ()) -> onnx.ModelProto:
    """A copy of `model` at opset 19, computing in float16 between casts.

    The nodes whose first outputs are `held` compute in float32.
    """
    return _in_half(model, TensorProto.FLOAT16, OPSET, held)


def to_bfloat16(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of `model` at opset 22, computing in bfloat16 between casts.

    It holds whatever float32 does, with 8 bits of mantissa.
    """
    return _in_half(model, TensorProto.BFLOAT16, BFLOAT16_OPSET, ())


def _in_half(
    model: onnx.ModelProto, kind: int, opset: int, held: Collection[str]
) -> onnx.ModelProto:
    # Raised here and not at the export: tf2onnx stops at 18, and TensorRT
    # 8.6 needs the same graph at 17.
    half, source = at_opset(model, opset), Index(model.graph)
    graph = half.graph
    floats = float_tensors(half)
    # They would still say float32, and the checker would believe them.
    del graph.value_info[:]
    held = _with_dequantizers(graph, held)
    for node in graph.node:
        if node.output[0] not in held:
            _retype(node, kind)
    _round_constants(graph, held, kind, source)
    _cast_between(graph, floats, held, kind)
    sort(graph)
    drop_unused(graph)
    _cast_outputs(graph, held)
    sort(graph)
    fill(half, source.array)
    check(half)
    return half


def float_tensors(model: onnx.ModelProto) -> list[str]:
    """The float32 tensors of `model` that its nodes make, in order, behind those of its inputs."""
    graph = infer_shapes(model)
    known = (*graph.input, *graph.output, *graph.value_info)
    types = {value.name: value.type.tensor_type.elem_type for value in known}
    names = [value.name for value in graph.input]
    names += [name for node in graph.node for name in node.output]
    return [name for name in names if types.get(name) == TensorProto.FLOAT]


def _reads_float(node: onnx.NodeProto, position: int, held: Collection[str]) -> bool:
    """Whether `node` takes its input at `position` in float32.

    How much a Resize enlarges is float32 whatever it resizes.
    """
    return node.output[0] in held or (node.op_type == "Resize" and position > 0)


def _with_dequantizers(graph: onnx.GraphProto, held: Collection[str]) -> set[str]:
    """`held`, with a DequantizeLinear for all held readers of its integers: a Cast between the two
    would part an INT8 kernel from its operands.
    """
    found, consumers = set(held), Index(graph).consumers
    for node in [node for node in graph.node if node.op_type == "DequantizeLinear"]:
        real = node.output[0]
        readers = [each for each in consumers.get(real, []) if each.output[0] in held]
        if len(readers) == len(consumers.get(real, [])) and readers:
            found.add(real)
        elif readers:
            name = f"{real}{COPY}"
            for each in readers:
                each.input[:] = [name if one == real else one for one in each.input]
            graph.node.append(helper.make_node(node.op_type, node.input, [name], name))
            graph.node[-1].attribute.extend(node.attribute)
            found.add(name)
    return found


def _round_constants(
    graph: onnx.GraphProto, held: Collection[str], kind: int, source: Index
) -> None:
    """Constants of the type `kind`, but for those that are only read in float32; what is read in
    both has a copy. Large values are those of `source`.
    """
    index = Index(graph)
    for name, tensor in index.constants.items():
        if tensor.data_type != TensorProto.FLOAT:
            continue
        places = [
            (node, position)
            for node in {each.output[0]: each for each in index.consumers.get(name, [])}.values()
            for position, read in enumerate(node.input)
            if read == name
        ]
        in_float = [place for place in places if _reads_float(*place, held)]
        if len(in_float) < len(places) or not places:
            key = key_of(tensor)
            values = numpy_helper.to_array(tensor) if key is None else source.array(key)
            for node, position in in_float:
                node.input[position] = set_constant(graph, f"{name}{COPY}", values)
            # Activation scales are float16 values already (decision 6): rounding changes none of
            # them, and the graph keeps the grid that Keras simulated.
            set_constant(graph, name, _rounded(values, kind))


def _cast_between(
    graph: onnx.GraphProto, floats: Collection[str], held: Collection[str], kind: int
) -> None:
    """A Cast wherever a node reads in another type than the tensor is made in."""
    index, inputs = Index(graph), {value.name for value in graph.input}
    for name in floats:
        is_float = name in inputs or index.producer[name].output[0] in held
        cast = f"{name}{'_half' if is_float else COPY}"
        is_read = False
        for node in index.consumers.get(name, []):
            for position, read in enumerate(node.input):
                if read == name and _reads_float(node, position, held) != is_float:
                    node.input[position], is_read = cast, True
        if is_read:
            to = kind if is_float else TensorProto.FLOAT
            graph.node.insert(0, helper.make_node("Cast", [name], [cast], cast, to=to))


def _rounded(values: Array, kind: int) -> Array:
    """float32 -> `kind`; what is too large becomes the largest number, not infinity."""
    limit = np.float32(LARGEST[kind])
    return np.asarray(np.clip(values, -limit, limit).astype(helper.tensor_dtype_to_np_dtype(kind)))


def _retype(node: onnx.NodeProto, kind: int) -> None:
    """Make constants inside `node` and casts to float32 half precision."""
    for attribute in node.attribute:
        if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
            attribute.i = kind
        if attribute.HasField("t") and attribute.t.data_type == TensorProto.FLOAT:
            values = _rounded(numpy_helper.to_array(attribute.t), kind)
            attribute.t.CopyFrom(numpy_helper.from_array(values, attribute.t.name))


def _cast_outputs(graph: onnx.GraphProto, held: Collection[str]) -> None:
    """float32 outputs; those of held nodes are."""
    producer = Index(graph).producer
    for value in graph.output:
        if producer[value.name].output[0] in held:
            continue
        inner = f"{value.name}_half"
        for node in graph.node:
            node.output[:] = [inner if name == value.name else name for name in node.output]
            node.input[:] = [inner if name == value.name else name for name in node.input]
        cast = helper.make_node(
            "Cast", [inner], [value.name], f"{value.name}_cast", to=TensorProto.FLOAT
        )
        graph.node.append(cast)
