"""The layer-local test of an integer graph: is every layer right, given what came before it?

End to end, a deep net turns one value that was rounded the other way into many: Keras then
disagrees with itself, and whether a label changes depends on how sure the network is. So each
segment between two quantizers is computed in Keras from the values that the *engine* had upstream,
and compared with what the engine made of them. The engine may differ where the value lies so close
to a rounding tie that float arithmetic decides (numerics/rounding.py), and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from stages.artifacts.ranges import Range
from stages.artifacts.signature import Signature
from stages.conversion.traces import Stored, Trace
from stages.engines.registry import Target
from stages.keras_graph.activations import activation_name, is_leaky
from stages.keras_graph.cost import kernel_of
from stages.keras_graph.fake_quant import execute, with_rounded_kernels
from stages.keras_graph.kernels import WEIGHTED, channel_axes
from stages.keras_graph.kinds import is_kind
from stages.keras_graph.placement import (
    Point,
    is_bilinear,
    only,
    softmaxes_without_grid,
    takes_values,
    tied,
)
from stages.keras_graph.walk import Call, Visit
from stages.numerics import fields, rounding
from stages.numerics.parity import steps_apart
from stages.numerics.qparams import Grid, kernel_scales
from stages.numerics.rounding import FLOAT32, Arithmetic
from stages.results.conversion import LayerParity

STEPS = 256
OUTPUT = "the output"
FACTORS = {"silu": "sigmoid", "mish": "tanh"}
"""x * sigmoid(x) and x * tanh(softplus(x)): what x is multiplied by."""
COMPARISONS = ("Greater", "GreaterEqual", "Less", "LessEqual")
"""Operations of keras.ops; their classes are not public, so they go by name."""


def compare_layers(
    name: str,
    model: keras.Model,
    points: Mapping[str, Point],
    ranges: Mapping[str, Range],
    trace: Trace,
    pixels: NDArray[Any],
    signature: Signature,
) -> LayerParity:
    """Compare the `trace` of a graph called `name` with the folded `model`, layer by layer.

    It passes if no value of any point, and no logit, differs by more than rounding explains.
    """
    target, arithmetic = trace.target, trace.arithmetic
    wanted = only(points, target)
    bounds = RoundingBounds(
        with_rounded_kernels(model, wanted, ranges, target),
        arithmetic,
        softmaxes_without_grid(model, wanted),
    )
    counts: dict[str, Counts] = {}
    rescaled = _rescaled(model, wanted, ranges, target)

    def quantize(point: Point, value: Any) -> Any:
        grid, scale = ranges[point.name].grid(target), ranges[point.name].scale(target)
        steps = np.asarray(value, np.float32) / np.float32(scale)
        otherwise = np.asarray(bounds.otherwise(value), np.float32) / np.float32(scale)
        # Dividing by the scale is one operation more.
        tolerance = bounds.of(value) / scale + STEPS * arithmetic.operation
        tolerance += arithmetic.rescaling * STEPS * (point.name in rescaled)
        stored = trace.stored.get(point.name, ())
        got, counts[point.name] = _best(steps, otherwise, stored, grid, tolerance)
        # The engine's value, not ours: each segment starts from what the engine really had.
        return keras.ops.convert_to_tensor(got * np.float32(scale))

    result = execute(model, wanted, signature.preprocess(pixels), quantize, bounds.visit)
    outputs, got = keras.tree.flatten(result), fields.parts(trace.logits)
    for own, *found in zip(signature.each, outputs, got, trace.logit_steps, strict=True):
        where = f"{OUTPUT} {own.output_name!r}" if signature.heads else OUTPUT
        counts[where] = _of_output(bounds, *found)
    return _summary(name, counts)


def _of_output(
    bounds: RoundingBounds, output: Any, got: NDArray[np.float32], step: float
) -> Counts:
    """How well `got`, of an engine that may round it to whole multiples of `step`, agrees."""
    # LiteRT's softmax has a grid of its own, and may be off by a step of it. What a layer reads as
    # well is an integer times its scale.
    tolerance = max(bounds.of(output), step, bounds.arithmetic.operation * _largest(output))
    either = (np.asarray(each) for each in (output, bounds.otherwise(output)))
    differs = np.all([~(np.abs(each - got) <= tolerance) for each in either], axis=0)
    return Counts(differs.size, 0, 0, int(differs.sum()))


def _rescaled(
    model: keras.Model, points: Mapping[str, Point], ranges: Mapping[str, Range], target: Target
) -> set[str]:
    """Points of what takes values over from points of another scale, as a skip connection does, or
    multiplies them by a constant."""
    makers = {name: point.tensor._keras_history.operation for name, point in points.items()}
    taken = {
        name
        for group in tied(model, points)
        if len({ranges[each].scale(target) for each in group}) > 1
        for name in group
        if takes_values(makers[name])
    }
    return taken | {name for name, maker in makers.items() if is_leaky(maker)}


@dataclass(frozen=True, order=True)
class Counts:
    """Values of a tensor: all, those off by one step and by more, those that rounding does not
    explain."""

    elements: int
    off_by_one: int
    off_by_more: int
    unexplained: int


def _summary(name: str, counts: Mapping[str, Counts]) -> LayerParity:
    worst = max(counts, key=lambda point: counts[point].unexplained / counts[point].elements)
    unexplained = sum(each.unexplained for each in counts.values())
    return LayerParity(
        name=name,
        elements=sum(each.elements for each in counts.values()),
        off_by_one=sum(each.off_by_one for each in counts.values()),
        off_by_more=sum(each.off_by_more for each in counts.values()),
        unexplained=unexplained,
        worst_point=worst if unexplained else None,
        passes=unexplained == 0,
    )


def _best(
    steps: NDArray[np.float32],
    otherwise: NDArray[np.float32],
    stored: Sequence[Stored],
    grid: Grid,
    tolerance: float,
) -> tuple[NDArray[np.float32], Counts]:
    """The levels of the tensor that agrees best with `steps`, or where it does not with `otherwise`
    (of the same shape), and how well it does.

    An engine without such a tensor gets our own levels, and no value of them is explained.
    """
    expected = grid.nearest(steps)
    found = [(expected, Counts(expected.size, 0, 0, expected.size))]
    for tensor in stored:
        for layout in _layouts(grid.of_stored(tensor), steps.shape):
            beyond = rounding.beyond_rounding(steps, layout, grid, tolerance)
            beyond &= rounding.beyond_rounding(otherwise, layout, grid, tolerance)
            elements, by_one, by_more = steps_apart(grid.place(expected), grid.place(layout))
            found.append((layout, Counts(elements, by_one, by_more, int(beyond.sum()))))
    tried = found[1:] or found
    return min(tried, key=lambda pair: (pair[1].unexplained, pair[1].off_by_more))


def _layouts(levels: NDArray[np.float32], shape: tuple[int, ...]) -> list[NDArray[np.float32]]:
    """`levels` in the layout of Keras.

    Inside ONNX images, signals and volumes are channels first, a pooled image may still be
    (N, C, 1, 1), and the result of a Conv1D is (N, C, 1, L). Around ops.flip vectors are (C, N).
    Either layout may be meant.
    """
    other = {2: (1, 0), 3: (0, 2, 1), 4: (0, 2, 3, 1), 5: (0, 2, 3, 4, 1)}.get(levels.ndim)
    layouts = [levels, levels.transpose(other)] if other else [levels]
    return [layout.reshape(shape) for layout in layouts if layout.size == np.prod(shape)]


def _norm_of_products(layer: Any, inputs: Any) -> float:
    """The largest sqrt(sum((x * w)^2)), over what a linear layer sums for each of its results.

    As large as the errors of the products, where these cancel in the sum.
    """
    squares = [(each, keras.ops.square(each)) for each in layer.weights]
    with keras.StatelessScope(state_mapping=squares):
        return float(np.sqrt(_largest(layer.call(keras.ops.square(inputs)))))


def _of_ties(layer: Any, inputs: Any) -> float:
    """The most that the weights of a layer change its results if those that lie on a tie, as far as
    float32 can tell, are rounded the other way: LiteRT's converter rounds them itself."""
    kernel, axes = kernel_of(layer), channel_axes(layer)
    values = kernel.numpy()
    shape = [size if axis in axes else 1 for axis, size in enumerate(values.shape)]
    steps = kernel_scales(values, *axes).reshape(shape)
    is_tie = np.abs(np.abs(values / steps) % 1 - 0.5) <= STEPS * FLOAT32.operation
    if not is_tie.any():
        return 0.0
    others = [(each, keras.ops.zeros_like(each)) for each in layer.weights if each is not kernel]
    with keras.StatelessScope(state_mapping=[(kernel, np.float32(is_tie * steps)), *others]):
        return _largest(layer.call(keras.ops.abs(inputs)))


def _largest(values: Any) -> float:
    return float(np.abs(np.asarray(values)).max())


@dataclass
class RoundingBounds:
    """Calls layers with `layers`, and follows how far rounding may move their results.

    A result is off by the layer's own rounding, and by as much as the layer makes of the rounding
    of its inputs. That is tried, on inputs that are all off by their bound, up or down at random.
    Values that come from an engine are off by nothing. The results with the ids `without_grid` are
    not rounded to a grid of their function's own.

    A comparison of two numbers that are not further apart than their bounds may have the other
    answer: what follows from these answers is computed as well, and is right too, value by value.
    """

    layers: Visit
    arithmetic: Arithmetic
    without_grid: Set[int] = frozenset()
    _bounds: dict[int, tuple[Any, float]] = field(default_factory=dict)
    _otherwise: dict[int, tuple[Any, Any]] = field(default_factory=dict)

    def of(self, value: Any) -> float:
        """Largest absolute error of a tensor."""
        return self._bounds.get(id(value), (value, 0.0))[1]

    def otherwise(self, value: Any) -> Any:
        """The tensor if every comparison before it that may have the other answer has it."""
        return self._otherwise.get(id(value), (value, value))[1]

    def visit(self, call: Call, *args: Any, **kwargs: Any) -> Any:
        """Call the layer, and remember the bounds of its results."""
        result = self.layers(call, *args, **kwargs)
        inputs, results = keras.tree.flatten((args, kwargs)), keras.tree.flatten(result)
        self._follow_answers(call, args, kwargs, results)
        moved = results
        if any(self.of(each) for each in inputs):
            args, kwargs = keras.tree.map_structure(self._moved, (args, kwargs))
            moved = keras.tree.flatten(self.layers(call, *args, **kwargs))
        has_grid = id(call.outputs[0]) not in self.without_grid
        own = self._of_own_grid(activation_name(call.operation), inputs) if has_grid else 0.0
        if is_kind(call.operation, WEIGHTED):
            own += self.arithmetic.weighted * _norm_of_products(call.operation, inputs[0])
            own += _of_ties(call.operation, inputs[0])
        if is_kind(call.operation, keras.layers.PReLU):
            slope = _largest(call.operation.alpha)
            own += self.arithmetic.slopes * slope * _largest(np.minimum(inputs[0], 0.0))
        if is_bilinear(call.operation):
            own += self.arithmetic.in_between * float(np.ptp(np.asarray(inputs[0])))
        for value, other in zip(results, moved, strict=True):
            if not keras.backend.is_float_dtype(keras.backend.standardize_dtype(value.dtype)):
                continue  # the answer of a comparison, say: how far it is off has no meaning
            # Moved down from zero, a root is none: that says nothing of the error.
            apart = np.nan_to_num(np.asarray(other - value), nan=0.0)
            bound = own + self.arithmetic.other * _largest(value) + _largest(apart)
            # With the value itself, so that its id is not given to another.
            self._bounds[id(value)] = (value, bound)
        return result

    def _follow_answers(self, call: Call, args: Any, kwargs: Any, results: Sequence[Any]) -> None:
        """Remember what the `results` of a call are if undecided comparisons come out otherwise."""
        inputs = keras.tree.flatten((args, kwargs))
        if type(call.operation).__name__ in COMPARISONS:
            first, second = (np.asarray(each, np.float32) for each in inputs)
            is_undecided = np.abs(first - second) <= sum(map(self.of, inputs))
            others = [np.asarray(results[0]) ^ is_undecided] if is_undecided.any() else []
        elif any(id(each) in self._otherwise for each in inputs):
            args, kwargs = keras.tree.map_structure(self.otherwise, (args, kwargs))
            others = keras.tree.flatten(self.layers(call, *args, **kwargs))
        else:
            others = []
        for value, other in zip(results, others, strict=False):
            self._otherwise[id(value)] = (value, keras.ops.convert_to_tensor(other))

    def _of_own_grid(self, function: str, inputs: Sequence[Any]) -> float:
        """A step of the grid that the runtime has for a function: half for rounding to it, half for
        the way from there to another."""
        if factor := FACTORS.get(function):  # the product comes straight from the factor's grid
            return self._of_own_grid(factor, ()) / 2 * _largest(inputs[0])
        return self.arithmetic.steps.get(function, 0.0)

    def _moved(self, value: Any) -> Any:
        bound = self.of(value)
        if not bound:
            return value
        signs = np.random.default_rng(0).choice([-bound, bound], np.shape(value))
        return value + keras.ops.convert_to_tensor(signs, value.dtype)
