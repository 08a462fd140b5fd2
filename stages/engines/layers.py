"""Requested and executed precision of the layers of an engine.

Convolutions and matrix products are requested in INT8 or FP8 where both operands come from
DequantizeLinear, else in the type of the graph's weights. Nothing is requested of other nodes: a
runtime fuses element-wise ones into its kernels as it likes.

Only building an engine needs the package onnx, so it is imported in the functions that do.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stages.engines.registry import Precision
from stages.numerics.sparsity import is_two_of_four

if TYPE_CHECKING:
    import onnx

    from stages.results.engines import LayerFacts, PrecisionMismatch

MATRIX_NODES = ("Conv", "ConvTranspose", "Gemm", "MatMul")
DEQUANTIZE = "DequantizeLinear"
WIDTH = {"uint8": 8, "int8": 8, "fp8": 8, "fp16": 16, "bf16": 16, "fp32": 32}
"""Bits of the precisions that a layer may run in."""


def requested(graph: onnx.ModelProto, rest: Precision | None = None) -> dict[str, Precision]:
    """Requested precision of every convolution and matrix product of `graph`, by node name.

    `rest` is that of nodes without quantized operands, where a builder's flag decides it.
    """
    import onnx

    made_by = {output: node for node in graph.graph.node for output in node.output}
    types = {tensor.name: tensor.data_type for tensor in graph.graph.initializer}
    # Both operands have one type: that of a constant, or of a Cast (conversion/onnx/float16.py).
    types |= {
        output: node.attribute[0].i for output, node in made_by.items() if node.op_type == "Cast"
    }
    numbers: dict[Precision, int] = {
        "bf16": onnx.TensorProto.BFLOAT16,
        "fp16": onnx.TensorProto.FLOAT16,
        "fp32": onnx.TensorProto.FLOAT,
    }
    in_graph = set(types.values())
    present = [name for name, kind in numbers.items() if kind in in_graph]
    most: Precision = present[0] if present else "fp32"
    eight_bits: Precision = "fp8" if onnx.TensorProto.FLOAT8E4M3FN in in_graph else "int8"

    def asked(node: onnx.NodeProto) -> Precision:
        operands = node.input[:2]  # without the bias, which is float in TensorRT's graphs
        if all(name in made_by and made_by[name].op_type == DEQUANTIZE for name in operands):
            return eight_bits
        kinds = {types.get(name) for name in operands}
        own = [name for name in present if numbers[name] in kinds]
        return rest or (own[0] if own else most)

    return {node.name: asked(node) for node in graph.graph.node if node.op_type in MATRIX_NODES}


def is_wider(layer: LayerFacts) -> bool:
    """Whether the layer runs in more bits than were requested."""
    return (
        layer.requested is not None and WIDTH.get(layer.executed or "", 0) > WIDTH[layer.requested]
    )


def mismatches(layers: Iterable[LayerFacts]) -> tuple[PrecisionMismatch, ...]:
    """The nodes that run in more bits than were requested, with their layers."""
    from stages.results.engines import PrecisionMismatch

    return tuple(
        PrecisionMismatch(
            node=node,
            layer=layer.name,
            requested=str(layer.requested),
            executed=str(layer.executed),
        )
        for layer in layers
        if is_wider(layer)
        for node in layer.nodes
    )


def has_sparse_kernel(graph: onnx.ModelProto) -> bool:
    """Whether a kernel of `graph` has the 2:4 pattern along its input channels."""
    from onnx import numpy_helper

    values = {tensor.name: tensor for tensor in graph.graph.initializer}
    levels = {
        node.output[0]: values[node.input[0]]
        for node in graph.graph.node
        if node.op_type == DEQUANTIZE and node.input[0] in values
    }
    return any(
        _is_sparse(_by_channels(node, numpy_helper.to_array(kernel)))
        for node in graph.graph.node
        if node.op_type in MATRIX_NODES and (kernel := (values | levels).get(node.input[1]))
    )


def _is_sparse(kernel: NDArray[Any] | None) -> bool:
    """Kernels of fewer than four input channels have the pattern without a zero."""
    if kernel is None or kernel.shape[-2] < 4:
        return False
    return is_two_of_four(np.asarray(kernel, np.float32)) and bool(kernel.any())


def _by_channels(node: onnx.NodeProto, kernel: NDArray[Any]) -> NDArray[Any] | None:
    """The kernel as (..., cin, cout); None for grouped ones, which have no sparse form."""
    import onnx

    attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    if node.op_type == "Conv":
        return None if attributes.get("group", 1) != 1 else np.moveaxis(kernel, (1, 0), (-2, -1))
    if node.op_type in ("Gemm", "MatMul"):
        return kernel.T if attributes.get("transB") else kernel
    return None
