"""Q/DQ passes, which turn a graph with quantized activations into an INT8 graph.

The exported graph has QuantizeLinear / DequantizeLinear pairs on activations only. Kernel
scales are a function of the kernel itself (max|w| / 127 per channel), so they are made here
from the initializers: nothing has to be matched by name between Keras and ONNX.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper

from stages.conversion.onnx.graph import Array, Index, attribute, drop_unused, set_constant, sort
from stages.errors import ConversionError
from stages.numerics import qparams

FLOAT8: Any = helper.tensor_dtype_to_np_dtype(TensorProto.FLOAT8E4M3FN)
"""NumPy's type of E4M3, of the package ml_dtypes."""
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
MOVES_VALUES = ("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten")
COPY = "_float"
"""Ends the name of a constant in float32 that float16 nodes of the same graph read as well."""
CUTS = ("Split", "Slice", "Gather", "ReverseSequence")
REPEATS = ("Expand", "Tile")
REPEATED = "_repeated_dq"
TOLERANCE = 2.0**-23
"""Relative: a quarter of the distance of two marked scales (targets.py), and more than float32
rounding on the way."""
POOLS = ("MaxPool", "GlobalMaxPool")
POINTWISE = ("Relu", "Clip", "QuantizeLinear", "DequantizeLinear")
KEEPS_VALUES = (*MOVES_VALUES, *CUTS, *REPEATS, *POOLS, "Pad")


def kernel_axis(node: onnx.NodeProto) -> int:
    """Axis of the output channels: Conv (cout, cin, kh, kw) -> 0, Gemm (in, out) -> 1."""
    if node.op_type == "Gemm" and attribute(node, "transB"):
        return 0
    return 0 if node.op_type == "Conv" else 1


@dataclass(frozen=True)
class Pair:
    """The scale that marks the pairs of a point, and the scale and zero point that they get.

    The type of the zero point, int8, uint8 or FLOAT8, is that of the quantized values.
    """

    mark: float
    scale: float
    zero_point: Array


def name_pairs(model: onnx.ModelProto, pairs: Mapping[str, Pair]) -> None:
    """Name, in place, the pairs of every point, which are recognised by their marked scale.

    They get the scale and the zero point of `pairs`. The QuantizeLinear of point "relu1" is then
    called "relu1.quantize", its constants "relu1.scale" and "relu1.zero_point". Raises
    ConversionError if a pair has a scale that no point has.
    """
    graph, index = model.graph, Index(model.graph)
    named: set[str] = set()
    for node in [n for n in graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")]:
        value = float(index.array(node.input[1]))
        name = min(pairs, key=lambda point: abs(pairs[point].mark / value - 1))
        if abs(pairs[name].mark / value - 1) > TOLERANCE:
            raise ConversionError(f"a pair has the scale {value}, which belongs to no point")
        scale = np.array(pairs[name].scale, np.float32)
        node.input[1] = set_constant(graph, f"{name}.scale", scale)
        node.input[2] = set_constant(graph, f"{name}.zero_point", pairs[name].zero_point)
        if node.op_type == "QuantizeLinear" and name not in named:
            node.name = f"{name}.quantize"
            named.add(name)
    # The types of quantized tensors may have changed.
    del graph.value_info[:]
    drop_unused(graph)


def quantized_tensors(model: onnx.ModelProto) -> dict[str, str]:
    """Point -> the tensor with its quantized values, which its DequantizeLinear reads."""
    found: dict[str, str] = {}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and not node.name.endswith(REPEATED):
            scale = node.input[1].removesuffix(COPY)
            if scale.endswith(".scale"):
                found.setdefault(scale.removesuffix(".scale"), node.input[0])
    return found


def adjoin(model: onnx.ModelProto) -> None:
    """Put every DequantizeLinear, in place, directly behind its QuantizeLinear.

    tf2onnx moves a Transpose, Reshape or Split in between, where engines do not look for a pair.
    """
    graph = model.graph
    index = Index(graph)
    for start in [node for node in graph.node if node.op_type == "QuantizeLinear"]:
        is_changed = False
        for reader in index.consumers.get(start.output[0], []):
            moved, ends = _until_dequantized(index, reader)
            if (
                moved
                and ends
                and {node.op_type for node in moved} <= {*MOVES_VALUES, *CUTS, *REPEATS}
            ):
                _dequantize_before(graph, reader, start.output[0], ends)
                is_changed = True
        if is_changed:
            index = Index(graph)
    del graph.value_info[:]
    sort(graph)


def _until_dequantized(
    index: Index, node: onnx.NodeProto
) -> tuple[list[onnx.NodeProto], list[onnx.NodeProto]]:
    """`node` and all that sees its integers, and the DequantizeLinear nodes at their ends."""
    moved, ends, waiting = list[onnx.NodeProto](), list[onnx.NodeProto](), [node]
    for reader in waiting:
        if reader.op_type == "DequantizeLinear":
            ends.append(reader)
        else:
            moved.append(reader)
            waiting += [each for name in reader.output for each in index.consumers.get(name, [])]
    return moved, ends


def _dequantize_before(
    graph: onnx.GraphProto, reader: onnx.NodeProto, quantized: str, ends: list[onnx.NodeProto]
) -> None:
    """One DequantizeLinear in front of `reader`, with the name of the first of `ends`, for all."""
    first = ends[0]
    real = f"{quantized}_dq_{first.name}"
    inputs = [quantized, *first.input[1:]]
    reader.input[:] = [real if name == quantized else name for name in reader.input]
    # What was dequantized now is real where it is made. Two ends may read the same; an output of
    # the graph keeps its name, and a second one of the same tensor is a copy.
    outputs = {value.name for value in graph.output}
    made: dict[str, str] = {}
    for end in sorted(ends, key=lambda each: each.output[0] not in outputs):
        made.setdefault(end.input[0], end.output[0])
    instead = {end.output[0]: made[end.input[0]] for end in ends} | made
    copies = [name for name, first in instead.items() if name in outputs and name != first]
    for end in ends:
        graph.node.remove(end)
    for node in graph.node:
        node.input[:] = [instead.get(name, name) for name in node.input]
        node.output[:] = [instead.get(name, name) for name in node.output]
    graph.node.append(helper.make_node("DequantizeLinear", inputs, [real], first.name))
    graph.node.extend(
        helper.make_node("Identity", [instead[name]], [name], name) for name in copies
    )


def sink_moves(model: onnx.ModelProto) -> None:
    """Move, in place, the Transpose and Reshape behind a kernel below its ReLU and pair.

    Conv - Reshape - Relu - Q - DQ becomes Conv - Relu - Q - DQ - Reshape: engines fuse a kernel
    with what directly follows it, and one whose pair is out of reach stays float.
    """
    graph = model.graph
    for node in [node for node in graph.node if node.op_type in WEIGHTED]:
        index = Index(graph)
        moved = _followers(index, node, MOVES_VALUES)
        behind = _followers(index, moved[-1], POINTWISE) if moved else []
        if not behind or behind[-1].op_type != "DequantizeLinear":
            continue
        end = behind[-1].output[0]
        behind[0].input[0] = node.output[0]
        behind[-1].output[0] = moved[0].input[0] = f"{end}_before_{moved[0].name}"
        moved[-1].output[0] = end
    del graph.value_info[:]
    sort(graph)


def _followers(index: Index, node: onnx.NodeProto, kinds: Collection[str]) -> list[onnx.NodeProto]:
    """The nodes of `kinds` that come one after the other behind `node`, read by nobody else."""
    found: list[onnx.NodeProto] = []
    follower = index.only_consumer(node.output[0])
    while follower is not None and follower.op_type in kinds:
        found.append(follower)
        follower = index.only_consumer(follower.output[0])
    return found


def repeat_pairs(model: onnx.ModelProto, layers: Collection[str]) -> None:
    """Repeat Q/DQ, in place, behind pools and at the inputs of the weighted nodes of `layers` that
    something parts from their pair.

    DQ - MaxPool - Flatten - Gemm becomes DQ - MaxPool - Q - DQ - Flatten - Q - DQ - Gemm with the
    same scale. The values are on the grid already: without the pairs TensorRT would pool in float,
    and a weighted node silently stay float.
    """
    graph = model.graph
    index = Index(graph)
    for node in list(graph.node):
        place = node.output if node.op_type in POOLS else node.input
        is_place = node.op_type in POOLS or _is_of(node, layers)
        if is_place and _repeat(graph, index, place[0], node):
            index = Index(graph)
    sort(graph)


def _repeat(graph: onnx.GraphProto, index: Index, name: str, node: onnx.NodeProto) -> bool:
    """Whether the tensor `name` lacked a pair and its readers now have one.

    Its readers are `node` alone, if that is weighted.
    """
    source = index.producer.get(name)
    if source is None or source.op_type == "DequantizeLinear":
        return False
    while source is not None and source.op_type in KEEPS_VALUES:
        source = index.producer.get(source.input[0])
    if source is None or source.op_type != "DequantizeLinear":
        return False
    readers = [node] if node.op_type in WEIGHTED else index.consumers.get(name, [])
    if all(reader.op_type == "QuantizeLinear" for reader in readers):
        return False
    scale_and_zero = list(source.input[1:])
    quantized, real = f"{node.name}_repeated_q", f"{node.name}{REPEATED}"
    for reader in readers:
        reader.input[:] = [real if each == name else each for each in reader.input]
    graph.node.extend(
        [
            helper.make_node("QuantizeLinear", [name, *scale_and_zero], [quantized], quantized),
            helper.make_node("DequantizeLinear", [quantized, *scale_and_zero], [real], real),
        ]
    )
    return True


def quantize_kernels(
    model: onnx.ModelProto, layers: Collection[str], bias: Literal["float", "int32"]
) -> int:
    """Store, in place, the kernels of the nodes of `layers` with a quantized input as INT8 and DQ.

    Per output channel, symmetric, narrow range. ONNX Runtime wants the bias as int32 in
    steps of input scale x kernel scale, TensorRT refuses that and takes it as float.
    Returns how many kernels became INT8.
    """
    graph, count = model.graph, 0
    # One index for all: what is added on the way is read by its own node alone.
    index = Index(graph)
    for node, source in _with_quantized_input(graph, index, layers):
        kernel, axis = index.array(node.input[1]), kernel_axis(node)
        # Here and not in the traced function: on a kernel, quantize_and_dequantize_v2 makes tf2onnx
        # write a broken graph (decision 7).
        scales = qparams.kernel_scales(kernel.astype(np.float32), axis)
        broadcast = scales.reshape([-1 if i == axis else 1 for i in range(kernel.ndim)])
        steps = qparams.quantize(kernel.astype(np.float32), broadcast, qparams.KERNEL)
        node.input[1] = _dequantized(graph, node.input[1], steps.astype(np.int8), scales, axis)
        if bias == "int32" and len(node.input) == 3:
            # The product in float32, as ONNX Runtime computes it: the same
            # steps that biases were snapped to.
            input_scale = np.float32(index.array(source.input[1]))
            _quantize_bias(graph, node, index, np.asarray(scales * input_scale, np.float32))
        count += 1
    sort(graph)
    drop_unused(graph)
    return count


def quantize_kernels_to_fp8(model: onnx.ModelProto, layers: Collection[str]) -> int:
    """The same in E4M3, with one scale for each kernel and the bias as float."""
    graph, count = model.graph, 0
    index = Index(graph)
    for node, _ in _with_quantized_input(graph, index, layers):
        kernel = index.array(node.input[1]).astype(np.float32)
        scale = np.float32(qparams.tensor_scale(np.abs(kernel).max()))
        values = qparams.E4M3.nearest(kernel / scale).astype(FLOAT8)
        node.input[1] = _dequantized(graph, node.input[1], values, np.asarray(scale))
        count += 1
    sort(graph)
    drop_unused(graph)
    return count


def _with_quantized_input(
    graph: onnx.GraphProto, index: Index, layers: Collection[str]
) -> list[tuple[onnx.NodeProto, onnx.NodeProto]]:
    """The nodes of `layers` whose kernel is a constant, and the DequantizeLinear they read."""
    nodes = [node for node in graph.node if _is_of(node, layers)]
    pairs = [(node, index.producer.get(node.input[0])) for node in nodes]
    return [
        (node, source)
        for node, source in pairs
        if source is not None
        and source.op_type == "DequantizeLinear"
        and node.input[1] in index.constants
    ]


def _is_of(node: onnx.NodeProto, layers: Collection[str]) -> bool:
    """Whether `node` has the kernel of one of `layers`: a recurrent layer or attention, which stay
    float, have products as well, and quantized tensors before them."""
    return node.op_type in WEIGHTED and node.name.partition(":")[0] in layers


def _dequantized(
    graph: onnx.GraphProto, name: str, steps: Array, scales: Array, axis: int | None = None
) -> str:
    """Initializers for `steps` and `scales`, and a DequantizeLinear whose output is returned."""
    inputs = [
        set_constant(graph, f"{name}_q", steps),
        set_constant(graph, f"{name}_scale", scales),
        set_constant(graph, f"{name}_zero", np.zeros(scales.shape, steps.dtype)),
    ]
    real = f"{name}_dq"
    # A shared layer is several nodes with one kernel, which needs only one DequantizeLinear.
    if all(real not in node.output for node in graph.node):
        graph.node.append(helper.make_node("DequantizeLinear", inputs, [real], real, axis=axis))
    return real


def _quantize_bias(
    graph: onnx.GraphProto, node: onnx.NodeProto, index: Index, scales: Array
) -> None:
    # float32 has 24 bits and would already round the larger of these integers.
    values = index.array(node.input[2]).astype(np.float64)
    limit = np.iinfo(np.int32)
    steps = np.clip(np.round(values / scales), limit.min, limit.max).astype(np.int32)
    # One for each node: those of a shared layer have one kernel, and inputs of different scales.
    node.input[2] = _dequantized(graph, f"{node.name}.bias", steps, scales, 0)
