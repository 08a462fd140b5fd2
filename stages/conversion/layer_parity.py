"""The layer-local test of an integer graph: is every layer right, given what came before it?

End to end, a deep net turns one value that was rounded the other way into many: Keras then
disagrees with itself. So each segment between two quantizers is computed in Keras from the
values that the *engine* had upstream, and compared with what the engine made of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import onnx
from numpy.typing import NDArray

from stages.artifacts.ranges import Range
from stages.artifacts.signature import Signature
from stages.conversion.onnx.qdq import quantized_tensors
from stages.engines.onnxruntime import tensors
from stages.keras_graph.fake_quant import execute, with_int8_kernels
from stages.keras_graph.placement import Point, only
from stages.numerics import qparams
from stages.numerics.parity import steps_apart
from stages.results.conversion import LayerParity

MAX_SHARE_OFF_BY_ONE = 1e-4


def compare_layers(
    model: keras.Model,
    points: Mapping[str, Point],
    ranges: Mapping[str, Range],
    graph: onnx.ModelProto,
    signature: Signature,
    images: NDArray[np.uint8],
) -> LayerParity:
    """Compare the INT8 CPU `graph` in ONNX Runtime with the folded `model`, layer by layer.

    Returns how many quantized values were compared, how many are off by one step and by
    more, the worst point, and whether the graph passes: none off by more than one step, and
    fewer than one in 10,000 off by one.
    """
    wanted, made = only(points, "cpu"), quantized_tensors(graph)
    fed = signature.feed(images)
    inner = [name for name in made.values() if name != signature.input_name]
    values = {signature.input_name: fed, **tensors(graph, signature, fed, inner)}
    counts: dict[str, list[int]] = {}

    def quantize(point: Point, value: Any) -> Any:
        spec = ranges[point.name]
        scale, grid = spec.scale("cpu"), spec.grid("cpu")
        expected = qparams.quantize(np.asarray(value), scale, grid)
        # The CPU graph stores UINT8: 0 stands for the lowest step of the grid.
        got = values[made[point.name]].astype(np.int32) + grid.low
        got, counts[point.name] = _aligned(expected, got)
        # The engine's value, not ours: each segment starts from what the engine really had.
        return keras.ops.convert_to_tensor(got.astype(np.float32) * scale)

    scales = {name: ranges[name].scale("cpu") for name in wanted}
    visit = with_int8_kernels(model, wanted, scales)
    execute(model, wanted, signature.preprocess(images), quantize, visit)
    elements, off_by_one, off_by_more = np.sum(list(counts.values()), axis=0).tolist()
    worst = max(counts, key=lambda name: counts[name][::-1])
    return LayerParity(
        elements=elements,
        off_by_one=off_by_one,
        off_by_more=off_by_more,
        worst_point=worst if any(counts[worst][1:]) else None,
        passes=off_by_more == 0 and off_by_one < MAX_SHARE_OFF_BY_ONE * elements,
    )


def _aligned(
    expected: NDArray[np.int32], got: NDArray[np.int32]
) -> tuple[NDArray[np.int32], list[int]]:
    """`got` in the layout of Keras, and its counts.

    Inside ONNX images are channels first, a pooled image may still be (N, C, 1, 1), and the result
    of a Conv1D is (N, C, 1, L). Of both layouts, the one that agrees is meant.
    """
    layouts = [got, got.transpose(0, 2, 3, 1)] if got.ndim == 4 else [got]
    counted = [
        (steps_apart(expected, layout), layout)
        for layout in (layout.reshape(expected.shape) for layout in layouts)
    ]
    counts, layout = min(counted, key=lambda pair: pair[0][::-1])
    return layout, counts
