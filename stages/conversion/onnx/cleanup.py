"""Clean-up of an exported graph: what only tf2onnx needed is removed."""

from __future__ import annotations

from collections.abc import Callable

import onnx
import onnxslim

from stages.conversion.onnx.bare import fill, infer_shapes
from stages.conversion.onnx.graph import Array, Index, attribute

Shape = list[int | None]


def clean_up(
    model: onnx.ModelProto, values: Callable[[str], Array] | None = None
) -> onnx.ModelProto:
    """`model` without computed constants, dead nodes, needless pads, transposes and reshapes.

    A bare one is filled with `values` where a pass of onnxslim computes with them.

    onnxslim leaves quantized activations and zero padding before a max-pool as they are. It
    does not see through pairs, where tf2onnx leaves reshapes of (N, C, 1, 1) to itself.
    """
    slim: onnx.ModelProto
    try:
        slim = onnxslim.slim(model)
    except ValueError:
        if values is None:
            raise
        fill(model, values)
        slim = onnxslim.slim(model)
    drop_idle_reshapes(slim)
    return slim


def drop_idle_reshapes(model: onnx.ModelProto) -> None:
    """Remove, in place, every Reshape to the shape that its input already has."""
    graph, shapes, index = model.graph, _shapes(model), Index(model.graph)
    outputs = {value.name for value in graph.output}
    instead: dict[str, str] = {}
    for node in [node for node in graph.node if node.op_type == "Reshape"]:
        source, target = node.input
        if target in index.constants and node.output[0] not in outputs:
            wanted = index.array(target).tolist()
            if not attribute(node, "allowzero") and _is_same(shapes.get(source), wanted):
                # The input may itself be the output of a Reshape that has just been removed.
                instead[node.output[0]] = instead.get(source, source)
                graph.node.remove(node)
    for node in graph.node:
        node.input[:] = [instead.get(name, name) for name in node.input]


def _is_same(shape: Shape | None, wanted: list[int]) -> bool:
    """Whether all sizes agree but at most one, given as -1: (N, 8, 1, 1) and [-1, 8, 1, 1]."""
    if shape is None or len(shape) != len(wanted):
        return False
    other = [want for have, want in zip(shape, wanted, strict=True) if have != want]
    return other in ([], [-1])


def _shapes(model: onnx.ModelProto) -> dict[str, Shape]:
    """Sizes of all tensors whose rank is known; None where a size is not."""
    graph = infer_shapes(model)
    return {
        value.name: [
            dim.dim_value if dim.HasField("dim_value") else None
            for dim in value.type.tensor_type.shape.dim
        ]
        for value in (*graph.value_info, *graph.input)
        if value.type.tensor_type.HasField("shape")
    }
