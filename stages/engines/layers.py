"""What the layers of an engine compute in, beside what the ONNX graph asks for.

Convolutions and matrix products are asked to run in INT8 where both operands come from
DequantizeLinear, else in the type of the graph's weights. Nothing else is asked of: a runtime
fuses element-wise nodes into its kernels as it likes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from stages.engines.registry import Precision
from stages.numerics.sparsity import is_two_of_four

MATRIX_NODES = ("Conv", "ConvTranspose", "Gemm", "MatMul")
WIDTH = {"int8": 8, "fp8": 8, "fp16": 16, "bf16": 16, "fp32": 32}
"""Bits of what a layer may run in."""


@dataclass(frozen=True)
class Layer:
    """A kernel of an engine, and the ONNX nodes whose work it does.

    `requested` is None where nothing was asked of it; `executed` is a key of WIDTH, or what the
    runtime says; `tactic` names the kernel's implementation where the runtime tells it.
    """

    name: str
    nodes: tuple[str, ...]
    kind: str
    requested: Precision | None
    executed: str
    tactic: str | None = None

    @property
    def is_wider(self) -> bool:
        """Whether it runs in more bits than were asked for."""
        return self.requested is not None and WIDTH.get(self.executed, 0) > WIDTH[self.requested]

    def to_json(self) -> dict[str, Any]:
        """As in `layers.json`."""
        return {**dataclasses.asdict(self), "nodes": list(self.nodes)}


def requested(graph: onnx.ModelProto, rest: Precision | None = None) -> dict[str, Precision]:
    """What every convolution and matrix product of `graph` is asked to run in, by node name.

    `rest` is for those without quantized operands, where a builder's flag says so.
    """
    made_by = {output: node.op_type for node in graph.graph.node for output in node.output}
    types = {tensor.data_type for tensor in graph.graph.initializer}
    floats: Precision = rest or ("fp16" if onnx.TensorProto.FLOAT16 in types else "fp32")
    return {
        node.name: "int8"
        if all(made_by.get(name) == "DequantizeLinear" for name in node.input[:2])
        else floats
        for node in graph.graph.node
        if node.op_type in MATRIX_NODES
    }


def mismatches(layers: Iterable[Layer]) -> list[dict[str, str]]:
    """The nodes that run in more bits than they were asked to, with their layers."""
    return [
        {
            "node": node,
            "layer": layer.name,
            "requested": str(layer.requested),
            "executed": layer.executed,
        }
        for layer in layers
        if layer.is_wider
        for node in layer.nodes
    ]


def has_sparse_kernel(graph: onnx.ModelProto) -> bool:
    """Whether a kernel of `graph` has the 2:4 pattern along its input channels."""
    values = {tensor.name: tensor for tensor in graph.graph.initializer}
    levels = {
        node.output[0]: values[node.input[0]]
        for node in graph.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in values
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
    attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    if node.op_type == "Conv":
        return None if attributes.get("group", 1) != 1 else kernel.transpose(2, 3, 1, 0)
    if node.op_type in ("Gemm", "MatMul"):
        return kernel.T if attributes.get("transB") else kernel
    return None


def summary(layers: Mapping[str, Sequence[Layer]]) -> dict[str, Any]:
    """The build record's `layers` and `precision_mismatches`, by engine."""
    return {
        "layers": {name: [layer.to_json() for layer in found] for name, found in layers.items()},
        "precision_mismatches": {
            name: found for name, each in layers.items() if (found := mismatches(each))
        },
    }
