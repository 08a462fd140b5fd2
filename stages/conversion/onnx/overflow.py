"""Which nodes of a float32 graph compute with values that float16 cannot hold.

The values are those of images, plus room: what other images reach is not known. Sources: the range
of float16 in IEEE 754-2019, 3.6; the same care is taken by AutoCast of NVIDIA's Model Optimizer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from stages.artifacts.node_names import layer_of
from stages.artifacts.signature import Signature
from stages.conversion.onnx.float16 import float_tensors, to_float16
from stages.conversion.onnx.preprocessing import prepend_preprocessing
from stages.engines.base import Images
from stages.engines.onnxruntime import outputs_of_batches
from stages.results.conversion import FloatLayer

PIXELS = 2**18
"""Of the images that go through a graph at once whose every tensor is looked at."""
LARGEST = float(np.finfo(np.float16).max)
ROOM = 4.0
"""Between the largest value that was seen and what float16 holds: two of its 30 powers of two."""
PEAK = ".peak"
BOUNDS = ("Clip", "Max", "Min")
"""What these compare with may be cut to float16: it bounds nothing in there."""
PAIRS = ("QuantizeLinear", "DequantizeLinear")
Wide = dict[str, tuple[FloatLayer, ...]]
"""By float16 graph, the layers that float16 cannot hold, if any."""


def to_safe_float16(
    model: onnx.ModelProto, images: NDArray[Any], signature: Signature
) -> tuple[onnx.ModelProto, tuple[FloatLayer, ...]]:
    """`model` as to_float16 makes it, without the nodes that overflow, or come near, on `images`
    (N, ..., C); and the layers of these. Raises EngineError.
    """
    normal = signature.fed_as("float32")  # what the graph takes until then
    places = sum(math.prod(own.input_shape[:-1]) for own in signature.each_input)
    batches = normal.batches(images, max(1, PIXELS // places))
    held = overflowing(model, peaks(model, signature, batches))
    return to_float16(model, held), layers(model, held)


def write_float16(
    graph: onnx.ModelProto, images: NDArray[Any], signature: Signature, file: Path
) -> Wide:
    """Write the float32 `graph` of preprocessed inputs in float16, with pixels as its input.

    Returns the layers that cannot be, and stay float32. Raises EngineError.
    """
    half, layers_in_float = to_safe_float16(graph, images, signature)
    # float16 first, then the pixels: normalised in float16 they would be off by a
    # quantization step (decision 11).
    onnx.save(prepend_preprocessing(half, signature), file)
    return {file.name: layers_in_float} if layers_in_float else {}


def peaks(
    model: onnx.ModelProto, signature: Signature, batches: Iterable[Images]
) -> dict[str, float]:
    """Largest |value| of every float32 tensor that nodes of `model` make, over all `batches` of
    what its inputs take. Raises EngineError.
    """
    names = [name for name in float_tensors(model) if name not in signature.input_names]
    found = dict.fromkeys(names, 0.0)
    for values in outputs_of_batches(_watched(model, names), signature, batches, as_written=True):
        # What is infinite or no number in float32 is at its limit in any type.
        found |= {
            name: max(peak, float(np.nan_to_num(values[f"{name}{PEAK}"], nan=np.inf)))
            for name, peak in found.items()
        }
    return found


def _watched(model: onnx.ModelProto, names: Iterable[str]) -> onnx.ModelProto:
    """`model` with the largest |value| of each of its tensors `names` as outputs."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    for name in names:
        size, peak = f"{name}.size", f"{name}{PEAK}"
        watched.graph.node.extend(
            [
                helper.make_node("Abs", [name], [size], size),
                helper.make_node("ReduceMax", [size], [peak], peak, keepdims=0),
            ]
        )
        watched.graph.output.append(helper.make_tensor_value_info(peak, TensorProto.FLOAT, []))
    return watched


def overflowing(model: onnx.ModelProto, peaks: Mapping[str, float]) -> dict[str, float]:
    """First output of the nodes that must not compute in float16 -> largest value around them.

    Activations, which may grow on other images, keep ROOM; constants do not change.
    """
    largest = _largest_constants(model.graph)
    found = {}
    for node in model.graph.node:
        around = [peaks.get(name, 0.0) for name in (*node.input, *node.output)]
        fixed = [largest.get(name, 0.0) for name in node.input if node.op_type not in BOUNDS]
        if max(around) > LARGEST / ROOM or max(fixed, default=0.0) > LARGEST:
            found[node.output[0]] = max(*around, *fixed)
    return found


def _largest_constants(graph: onnx.GraphProto) -> dict[str, float]:
    """Largest finite |value| of the float32 constants."""
    found = {}
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            size = np.abs(numpy_helper.to_array(tensor))
            found[tensor.name] = float(size.max(initial=0.0, where=np.isfinite(size)))
    return found


def layers(model: onnx.ModelProto, held: Mapping[str, float]) -> tuple[FloatLayer, ...]:
    """The layers of the nodes with these first outputs, in order, and the largest value of each."""
    found: dict[str, float] = {}
    for node in model.graph.node:
        if node.output[0] in held and node.op_type not in PAIRS:
            name = layer_of(node.name) or node.name or node.output[0]
            found[name] = max(found.get(name, 0.0), held[node.output[0]])
    return tuple(
        FloatLayer(layer=name, peak=peak if np.isfinite(peak) else None)
        for name, peak in found.items()
    )
