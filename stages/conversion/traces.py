"""What engines compute inside: the quantized values of every point, as the engine stores them.

ONNX graphs are traced as they are written, node by node, in ONNX Runtime: what they mean. When it
optimises, ONNX Runtime computes those for TensorRT wrongly (decision 7), and has ways of its own to
read the one for CPUs. That one is also traced as ONNX Runtime and as OpenVINO run it, and a
`.tflite` with XNNPACK's kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from stages.artifacts.ranges import Range
from stages.artifacts.signature import Signature
from stages.conversion.onnx.qdq import quantized_tensors
from stages.engines import litert, modules, onnxruntime, openvino
from stages.engines.base import Images, Logits
from stages.engines.registry import Target, backend_label
from stages.numerics.rounding import FLOAT16, FLOAT32, LITERT, Arithmetic

SAME_SCALE = 1e-5
"""Relative: more than float32 rounding, less than the distance of two float16 scales."""

Stored = NDArray[Any]
"""int8 or uint8, as the engine stores it, in any layout; E4M3 as its bits."""


@dataclass(frozen=True)
class Trace:
    """What an engine computed for some images.

    `stored` has, by point, the tensors that may be the point's: one where the graph has names, else
    all of the point's scale; none if the engine has no such tensor. `logits` are (N, ...), or have
    a field for each output. Where the engine quantizes an output it is in whole multiples of its
    step in `logit_steps`. `arithmetic` is that of what is between integers.
    """

    target: Target
    stored: Mapping[str, Sequence[Stored]]
    logits: Logits
    logit_steps: tuple[float, ...]
    arithmetic: Arithmetic


Outputs = Callable[[onnx.ModelProto, Signature, Images], Mapping[str, NDArray[Any]]]

AS_WRITTEN: Outputs = partial(onnxruntime.outputs, as_written=True)
# OpenVINO last: it takes AMX for the whole process (decision 14).
AS_RUN: dict[str, Outputs] = {"onnxruntime": onnxruntime.outputs, "openvino": openvino.outputs}
"""The runtimes of the graph for CPUs."""


def traces(
    folder: Path,
    graphs: Mapping[str, Target],
    ranges: Mapping[str, Range],
    signature: Signature,
    images: Images,
) -> Iterator[tuple[str, Trace]]:
    """Name and trace of the quantized `graphs` in `folder`, as written and as they run here.

    `images` are what `Signature.feed` gives. Raises EngineError.
    """
    for file, target in graphs.items():
        if target == "litert":
            for form in filter(Path.is_file, (folder / file, litert.paired_form(folder / file))):
                yield form.name, trace_tflite(form, ranges, signature, images)
            continue
        graph = onnx.load(folder / file)
        yield file, trace_onnx(graph, target, signature, images, AS_WRITTEN)
        for backend, outputs in AS_RUN.items() if target == "cpu" else ():
            if modules.load(backend).run_blocker() is None:
                name = f"{file} in {backend_label(backend)}"
                yield name, trace_onnx(graph, target, signature, images, outputs)


def trace_onnx(
    graph: onnx.ModelProto, target: Target, signature: Signature, images: Images, outputs: Outputs
) -> Trace:
    """The trace of a Q/DQ `graph` for what `Signature.feed` gives. Raises EngineError."""
    made = quantized_tensors(graph)
    opened = onnx.ModelProto()
    opened.CopyFrom(graph)
    known = {value.name for value in (*graph.graph.input, *graph.graph.output)}
    opened.graph.output.extend(
        onnx.helper.make_empty_tensor_value_info(name)
        for name in dict.fromkeys(made.values())
        if name not in known
    )
    values = signature.by_name(images)
    values |= outputs(opened, signature, images)
    stored = {point: [values[tensor]] for point, tensor in made.items()}
    types = {tensor.data_type for tensor in graph.graph.initializer}
    arithmetic = FLOAT16 if onnx.TensorProto.FLOAT16 in types else FLOAT32
    logits = [values[name] for name in signature.output_names]
    return Trace(target, stored, signature.joined(logits), (0.0,) * len(logits), arithmetic)


def trace_tflite(
    file: Path, ranges: Mapping[str, Range], signature: Signature, images: Images
) -> Trace:
    """The trace of a `.tflite`, whose converter drops all names but those of the outputs. Raises
    EngineError.
    """
    inside, outputs = litert.tensors(file, signature, images)
    stored = {
        name: [each.values for each in inside if _is_same(each.scale, spec.scale("litert"))]
        for name, spec in ranges.items()
    }
    steps = tuple(
        next((each.scale for each in inside if np.array_equal(_dequantized(each), output)), 0.0)
        for output in outputs
    )
    return Trace("litert", stored, signature.joined(outputs), steps, LITERT)


def _dequantized(tensor: litert.Inside) -> NDArray[np.float32]:
    return (tensor.values.astype(np.float32) - tensor.zero_point) * np.float32(tensor.scale)


def _is_same(scale: float, expected: float) -> bool:
    return abs(scale / expected - 1) < SAME_SCALE
