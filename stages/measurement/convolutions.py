"""Graphs of large convolutions, nearly all of whose time is multiply-adds: peaks are theirs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from stages.artifacts.signature import Signature

if TYPE_CHECKING:
    import onnx

KERNEL = 3


class Size(NamedTuple):
    """Images, the side of each, channels of inputs and outputs, and layers one behind the other."""

    batch: int
    side: int
    channels: int
    layers: int

    @property
    def multiply_adds(self) -> int:
        """Of one call."""
        return self.batch * self.layers * (self.side * self.channels * KERNEL) ** 2

    @property
    def signature(self) -> Signature:
        """uint8 images (batch, side, side, channels) -> float32 (batch, channels)."""
        return Signature(
            (self.side, self.side, self.channels),
            tuple(map(str, range(self.channels))),
            scale=1.0,
            offset=0.0,
            dtype="uint8",
            batch_size=self.batch,
        )


class Types(NamedTuple):
    """Names in onnx.TensorProto: between Q/DQ pairs, and of the steps within, if there are any.

    UINT8 has INT8 kernels, and needs no quantizer for the images.
    """

    real: str
    steps: str = ""


STEPS_PER_LEVEL = {"UINT8": 1.0, "INT8": 2.0, "FLOAT8E4M3FN": 1.0}
"""So that pixels up to 255 fit into the range of the type."""


def graph(types: Types, size: Size) -> onnx.ModelProto:
    """Convolutions with ReLU, then the mean of every channel: as `size.signature` says.

    For TensorRT 8.6 in opset 17 where the real type is FLOAT, else in opset 19.
    """
    from onnx import TensorProto, helper

    of_image = helper.make_tensor_value_info(
        "image", TensorProto.UINT8, (size.batch, size.side, size.side, size.channels)
    )
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, (size.batch, size.channels))
    nodes = [*_start(types)]
    for number in range(size.layers):
        nodes += _layer(number, types)
    nodes += [
        helper.make_node("GlobalAveragePool", [f"y{size.layers}"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["means"]),
        helper.make_node("Cast", ["means"], ["logits"], to=TensorProto.FLOAT),
    ]
    made = helper.make_graph(nodes, "peak", [of_image], [logits], [*_constants(types, size)])
    opset = 17 if types.real == "FLOAT" else 19
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def _start(types: Types) -> Iterator[onnx.NodeProto]:
    """From the image to y0."""
    from onnx import TensorProto, helper

    if types.steps == "UINT8":
        yield helper.make_node("Transpose", ["image"], ["q0"], perm=(0, 3, 1, 2))
        yield helper.make_node("DequantizeLinear", ["q0", "scale", "zero_point"], ["y0"])
        return
    kind = getattr(TensorProto, types.real)
    last = "x0" if types.steps else "y0"
    yield helper.make_node("Cast", ["image"], ["real"], to=kind)
    yield helper.make_node("Transpose", ["real"], [last], perm=(0, 3, 1, 2))
    yield from _pair(0, types)


def _layer(number: int, types: Types) -> Iterator[onnx.NodeProto]:
    """One convolution with ReLU, from y<number> to y<number + 1>."""
    from onnx import helper

    before, conv, after = f"y{number}", f"c{number}", f"{'x' if types.steps else 'y'}{number + 1}"
    kernel = f"kernel{number}" if types.steps else "kernel"
    if types.steps:
        inputs = ["kernel", "kernel_scale", "kernel_zero"]
        yield helper.make_node("DequantizeLinear", inputs, [kernel])
    yield helper.make_node("Conv", [before, kernel], [conv], conv, pads=(1, 1, 1, 1))
    yield helper.make_node("Relu", [conv], [after])
    yield from _pair(number + 1, types)


def _pair(number: int, types: Types) -> Iterator[onnx.NodeProto]:
    """From x<number> to y<number>, where there are steps."""
    from onnx import helper

    if types.steps:
        grid = ("scale", "zero_point")
        yield helper.make_node("QuantizeLinear", [f"x{number}", *grid], [f"q{number}"])
        yield helper.make_node("DequantizeLinear", [f"q{number}", *grid], [f"y{number}"])


def _constants(types: Types, size: Size) -> Iterator[onnx.TensorProto]:
    """One kernel for all layers, and what quantizes it and every activation."""
    shape = (size.channels, size.channels, KERNEL, KERNEL)
    kernel = np.random.default_rng(0).integers(-127, 128, shape).astype(np.float32)
    # Of He et al. 2015, so that values neither die out, which would be slow, nor overflow.
    scale = (2 / size.channels / KERNEL**2) ** 0.5 / (127 / 3**0.5)
    if not types.steps:
        yield _constant("kernel", kernel * scale, types.real)
        return
    of_kernel = "INT8" if types.steps == "UINT8" else types.steps
    yield _constant("kernel", kernel, of_kernel)
    yield _constant("kernel_scale", scale, types.real)
    yield _constant("kernel_zero", 0, of_kernel)
    yield _constant("scale", STEPS_PER_LEVEL[types.steps], types.real)
    yield _constant("zero_point", 0, types.steps)


def _constant(name: str, values: Any, kind: str) -> onnx.TensorProto:
    from onnx import TensorProto, helper, numpy_helper

    dtype = helper.tensor_dtype_to_np_dtype(getattr(TensorProto, kind))
    return numpy_helper.from_array(np.asarray(values).astype(dtype), name)
