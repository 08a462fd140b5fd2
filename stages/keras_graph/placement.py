"""Where a graph is quantized: which tensors get a range, and for which engines.

The rules, for a folded model (every weighted layer linear, see fold.py):

1. The input of every weighted layer is quantized. Its output is not, and never its bias.
2. A range belongs to the tensor's *producer*: max-pools, flatten, padding, repetition and the like
   keep values, so the quantization moves up through them, and all consumers share one range.
3. An addition has exactly one arm in float, from a weighted layer: TensorRT then computes the sum
   in that layer's kernel. Of several such arms it is the one with the most layers behind it, which
   comes last; shortcuts, also those with a convolution, are quantized.
4. CPU engines fuse differently: for them both arms of additions, products and
   concatenations, inputs of average pools, and outputs of weighted layers (the logits too) are
   quantized as well, behind the ReLU if there is one: without a pair there, the layer itself
   would compute in float. TensorRT's graph leaves these out. So does every graph the numbers of a
   regression: 256 steps from zero are too coarse for 20,000 give or take 10, and columns of unlike
   units would share them.
5. LiteRT's first convolution stays float if it sees fewer than four channels and has fewer
   than 1024 weights: its INT8 kernels take channels by fours at least, and on the MNIST CNN
   the INT8 version took 2 to 7 us longer than the float one, 25 us where AMX is used. Larger
   kernels are INT8, since the converter would quantize their weights only and compute in a
   hybrid way. So are all later ones, which may read integers anyway, as behind a concatenation.
6. CPU engines spend all 256 steps between the smallest and the largest value, with a zero point;
   TensorRT's grid is symmetric. A tensor that cannot be negative (ReLU, sigmoid, softmax, and what
   keeps the sign) never gets a step below zero.
7. Average pools, concatenations, maxima of several tensors and choices between them have one scale
   and zero point for all their inputs and outputs: only so can they copy, compare and add integers
   without rescaling, for which XNNPACK has factors of 8 binary places only. A choice between a
   constant and a tensor that nothing else quantizes is made in float, as the mask of attention.
8. The range of pixels is that of all of them, as the normalisation makes them; other inputs are
   calibrated as any tensor. Where its steps are
   the pixels themselves (offset 0, or -128 times the scale), engines read pixels as they are.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

from stages.artifacts.signature import Signature
from stages.engines.registry import FEW_CHANNELS, Target
from stages.errors import ModelError
from stages.keras_graph.activations import (
    FUSED,
    NOT_NEGATIVE,
    activation_name,
    has_threshold,
    is_clamp,
)
from stages.keras_graph.cost import kernel_of
from stages.keras_graph.kernels import WEIGHTED
from stages.keras_graph.kinds import is_kind
from stages.keras_graph.walk import Call, calls

# Zero padding belongs here because every grid has an exact zero.
KEEPS_VALUES = (
    layers.MaxPooling1D,
    layers.MaxPooling2D,
    layers.MaxPooling3D,
    # Not only to pool integers: OpenVINO 2026.4 computes a global maximum of a quantized
    # convolution's float output wrongly, by 59 of 255 steps.
    layers.GlobalMaxPooling1D,
    layers.GlobalMaxPooling2D,
    layers.GlobalMaxPooling3D,
    layers.Flatten,
    layers.Reshape,
    layers.Permute,
    layers.ZeroPadding1D,
    layers.ZeroPadding2D,
    layers.ZeroPadding3D,
    layers.Cropping1D,
    layers.Cropping2D,
    layers.Cropping3D,
    layers.RepeatVector,
    layers.UpSampling1D,
    layers.UpSampling3D,
)
KEEPING_OPERATIONS = (
    "ExpandDims",
    # LiteRT would give a tanh before it the range of what is behind it, and compute something else.
    "Flip",
    "GetItem",
    "Max",
    "Min",
    "Moveaxis",
    "Reshape",
    "Split",
    "Squeeze",
    "Swapaxes",
    "Transpose",
    "Unstack",
)
"""The same among the operations of keras.ops; their classes are not public, so they go by name."""
AVERAGES = (
    layers.AveragePooling1D,
    layers.AveragePooling2D,
    layers.AveragePooling3D,
    layers.GlobalAveragePooling1D,
    layers.GlobalAveragePooling2D,
    layers.GlobalAveragePooling3D,
)
CHOOSES = (layers.Concatenate, layers.Maximum, layers.Minimum)
CHOOSING_OPERATIONS = ("Concatenate", "Maximum", "Minimum", "Stack", "Where")
"""The same among the operations of keras.ops."""
MERGES = (layers.Add, layers.Multiply)
FEW_WEIGHTS = 1024


@dataclass(frozen=True)
class Point:
    """A tensor that is quantized: its producer's name, its sign, and the engines it is for.

    `limits` are known beforehand of inputs that are pixels: these have 256 values, so their range
    is neither calibrated nor trained (rule 8).
    """

    name: str
    tensor: Any
    signed: bool
    targets: frozenset[Target]
    limits: tuple[float, float] | None = None


def keeps_values(operation: Any) -> bool:
    """Whether all that `operation` returns are values of its first input, or zeros."""
    if is_kind(operation, layers.UpSampling2D):
        return bool(operation.interpolation == "nearest")
    return is_kind(operation, KEEPS_VALUES) or _is_named(operation, KEEPING_OPERATIONS)


def is_average(operation: Any) -> bool:
    """Whether it returns averages of its input's values: a pool, or what is made in between."""
    return is_kind(operation, AVERAGES) or is_bilinear(operation)


def is_bilinear(operation: Any) -> bool:
    """Whether it makes its input larger or smaller by bilinear interpolation, and nothing else."""
    is_resize = is_kind(operation, (layers.UpSampling2D, layers.Resizing))
    if not is_resize and not _is_named(operation, ("Resize",)):
        return False
    others = ("antialias", "crop_to_aspect_ratio", "pad_to_aspect_ratio")
    is_plain = not any(getattr(operation, name, False) for name in others)
    return is_plain and operation.interpolation == "bilinear"


def takes_values(operation: Any) -> bool:
    """Whether all that `operation` returns are values of one of its inputs, or constants."""
    return (
        is_kind(operation, CHOOSES)
        or _is_named(operation, CHOOSING_OPERATIONS)
        or is_clamp(operation)
        or has_threshold(operation)
    )


def _is_named(operation: Any, names: Collection[str]) -> bool:
    kind = type(operation)
    return kind.__module__.startswith("keras.src.ops.") and kind.__name__ in names


def _numbers(tensors: Iterable[Any]) -> list[Any]:
    """Those of `tensors` that hold no answers of a comparison."""
    return [tensor for tensor in tensors if keras.backend.is_float_dtype(tensor.dtype)]


class _Graph:
    """Producers, consumers and unique names of the tensors of a folded model."""

    def __init__(self, model: keras.Model) -> None:
        self.calls = calls(model)
        self.producer = {id(out): call for call in self.calls for out in call.outputs}
        self.consumers: dict[int, list[Call]] = {}
        for call in self.calls:
            for tensor in call.inputs:
                self.consumers.setdefault(id(tensor), []).append(call)
        self.behind_kernels: set[int] = set()
        for call in self.calls:
            if is_kind(call.operation, WEIGHTED) or not self.is_first(call):
                self.behind_kernels.update(map(id, call.outputs))
        # Layers between the image and a tensor, on the longest way.
        self.depth: dict[int, int] = {}
        for call in self.calls:
            before = max((self.depth.get(id(tensor), 0) for tensor in call.inputs), default=0)
            self.depth |= {id(tensor): before + 1 for tensor in call.outputs}
        self.outputs = {id(tensor) for tensor in model.outputs}
        self.names = {id(tensor): str(tensor.name) for tensor in model.inputs}
        for call in self.calls:
            for tensor in call.outputs:
                self.names[id(tensor)] = self._unique(str(call.operation.name))

    def _unique(self, name: str) -> str:
        taken, number = set(self.names.values()), 1
        while (candidate := name if number == 1 else f"{name}:{number}") in taken:
            number += 1
        return candidate

    def root(self, tensor: Any) -> Any:
        """The tensor whose values `tensor` repeats (rule 2)."""
        call = self.producer.get(id(tensor))
        while call is not None and keeps_values(call.operation):
            tensor = call.inputs[0]
            call = self.producer.get(id(tensor))
        return tensor

    def is_weighted(self, tensor: Any) -> bool:
        call = self.producer.get(id(self.root(tensor)))
        return call is not None and is_kind(call.operation, WEIGHTED)

    def is_first(self, call: Call) -> bool:
        """Whether no weighted layer comes before `call`."""
        return self.behind_kernels.isdisjoint(map(id, call.inputs))

    def shortcuts(self, addition: Call) -> list[Any]:
        """The arms but the deepest that comes from a weighted layer (rule 3)."""
        weighted = filter(self.is_weighted, addition.inputs)
        fused = max(weighted, key=lambda arm: self.depth.get(id(arm), 0), default=None)
        return [arm for arm in addition.inputs if arm is not fused]

    def result(self, call: Call) -> Any:
        """What the kernel of a weighted `call` gives: its output, or that of the ReLU in it or of
        the clamp behind it, which the quantizer of its result does as well."""
        users = self.consumers.get(id(call.outputs[0]), [])
        # A second reader, or an output, needs what comes before the ReLU, which then is a kernel of
        # its own.
        is_alone = len(users) == 1 and id(call.outputs[0]) not in self.outputs
        is_fused = is_alone and activation_name(users[0].operation) in FUSED
        is_fused |= is_alone and is_clamp(users[0].operation)
        return (users[0] if is_fused else call).outputs[0]

    def is_in_kernel(self, call: Call) -> bool:
        """Whether `call` makes the result of a weighted one."""
        before = self.producer.get(id(call.inputs[0]))
        if before is None or not is_kind(before.operation, WEIGHTED):
            return False
        return self.result(before) is call.outputs[0]

    def chooses(self, call: Call) -> bool:
        """Whether all that `call` returns are values of its inputs, or constants, and the choice is
        made between integers."""
        if not takes_values(call.operation) or self.is_in_kernel(call):
            return False
        # Between a constant and a tensor that nobody else quantizes it is made in float: a clamp
        # has all steps for its result, and the mask of attention a score that no grid holds.
        numbers = _numbers(call.inputs)
        return len(numbers) > 1 or (len(numbers) == 1 and self.is_quantized(numbers[0]))

    def is_quantized(self, tensor: Any) -> bool:
        """Whether `tensor` comes from integers, or something that does not choose between it and a
        constant quantizes it."""
        root = self.root(tensor)
        call = self.producer.get(id(root))
        if call is None or takes_values(call.operation):
            return True
        if is_kind(call.operation, WEIGHTED) or is_average(call.operation):
            return True
        others = [each for each in self.calls if any(self.root(t) is root for t in each.inputs)]
        return any(
            is_kind(each.operation, (*WEIGHTED, *MERGES))
            or is_average(each.operation)
            or (takes_values(each.operation) and len(_numbers(each.inputs)) > 1)
            for each in others
        )

    def is_signed(self, tensor: Any) -> bool:
        """Whether `tensor` may be negative (rule 6)."""
        call = self.producer.get(id(self.root(tensor)))
        if call is None:
            return True
        sources = _numbers(call.inputs)
        # What is chosen from a single tensor and a constant may be that.
        is_clamped = is_clamp(call.operation) or has_threshold(call.operation)
        is_choice = (len(sources) > 1 or is_clamped) and self.chooses(call)
        if is_choice or is_average(call.operation) or is_kind(call.operation, MERGES):
            return any(map(self.is_signed, sources))
        return activation_name(call.operation) not in NOT_NEGATIVE


def points(model: keras.Model, signature: Signature) -> dict[str, Point]:
    """Points of a folded `model` by name, in the order of execution.

    Raises ModelError if nothing in it can be quantized.
    """
    graph = _Graph(model)
    if not any(is_kind(call.operation, WEIGHTED) for call in graph.calls):
        raise ModelError(
            f"{model.name!r} has no convolution or Dense layer to quantize",
            "INT8 needs one of Keras' own: check model.source",
        )
    pairs = zip(model.outputs, signature.each, strict=True)
    numbers = {id(graph.root(tensor)) for tensor, own in pairs if own.task == "regression"}
    wanted = _wanted(graph, numbers)
    sources = zip(model.inputs, signature.each_input, strict=True)
    limits = {id(tensor): own.limits for tensor, own in sources}
    found = {}
    for identity, name in graph.names.items():
        if identity in wanted:
            tensor, targets = wanted[identity]
            known = limits.get(identity)
            signed = graph.is_signed(tensor) if known is None else known[0] < 0
            found[name] = Point(name, tensor, signed, frozenset(targets), known)
    return found


def inputs_of_weighted(model: keras.Model, points: Mapping[str, Point]) -> dict[int, Point]:
    """id of the output of each weighted call -> the point that its input has, if any."""
    graph = _Graph(model)
    by_tensor = {id(point.tensor): point for point in points.values()}
    found = {}
    for call in graph.calls:
        if is_kind(call.operation, WEIGHTED):
            point = by_tensor.get(id(graph.root(call.inputs[0])))
            if point is not None:
                found[id(call.outputs[0])] = point
    return found


def fed_layers(model: keras.Model, points: Mapping[str, Point]) -> dict[str, tuple[str, ...]]:
    """Point -> names of the weighted layers that read it, for the points that feed any."""
    found: dict[str, tuple[str, ...]] = {}
    by_output = inputs_of_weighted(model, points)
    for call in calls(model):
        point = by_output.get(id(call.outputs[0]))
        if point is not None:
            found[point.name] = (*found.get(point.name, ()), str(call.operation.name))
    return found


def tied(model: keras.Model, points: Mapping[str, Point]) -> list[set[str]]:
    """Sets of points that share one scale (rule 7)."""
    graph = _Graph(model)
    by_tensor = {id(point.tensor): point.name for point in points.values()}
    groups: list[set[str]] = []
    for call in graph.calls:
        if is_average(call.operation) or graph.chooses(call):
            around = [*_numbers(call.inputs), *call.outputs]
            names = {by_tensor.get(id(graph.root(tensor))) for tensor in around} - {None}
            joined = [group for group in groups if group & names]
            groups = [group for group in groups if not group & names]
            groups.append({str(name) for name in names}.union(*joined))
    return [group for group in groups if len(group) > 1]


def only(points: Mapping[str, Point], target: Target) -> dict[str, Point]:
    """The points that `target` quantizes; FP8 is for TensorRT, and has the points of its INT8."""
    own: Target = "tensorrt" if target == "fp8" else target
    return {name: point for name, point in points.items() if own in point.targets}


def softmaxes_without_grid(model: keras.Model, wanted: Mapping[str, Point]) -> set[int]:
    """ids of the results of each softmax in the middle that has no point among those `wanted`."""
    graph = _Graph(model)
    outputs = {id(graph.root(tensor)) for tensor in model.outputs}
    known = {id(point.tensor) for point in wanted.values()} | outputs
    made = {
        id(call.outputs[0]) for call in graph.calls if activation_name(call.operation) == "softmax"
    }
    return made - known


def _wanted(graph: _Graph, numbers: set[int]) -> dict[int, tuple[Any, set[Target]]]:
    """id of a tensor -> the tensor and the targets that quantize it (rules 1 to 5).

    `numbers` are the ids of the outputs of regressions.
    """
    wanted: dict[int, tuple[Any, set[Target]]] = {}

    def want(tensors: Iterable[Any], *targets: Target) -> None:
        for tensor in map(graph.root, tensors):
            wanted.setdefault(id(tensor), (tensor, set()))[1].update(targets)

    for call in graph.calls:
        if is_kind(call.operation, WEIGHTED):
            want(call.inputs[:1], "tensorrt", "cpu")
            if not (_is_cheaper_in_float(call) and graph.is_first(call)):
                want(call.inputs[:1], "litert")
            # Not before a ReLU: engines fuse it into the kernel, and a pair in between would split
            # the two and spend half of its steps on values that the ReLU drops.
            if id(graph.root(graph.result(call))) not in numbers:
                want([graph.result(call)], "cpu", "litert")
        elif is_kind(call.operation, MERGES):
            want(call.inputs, "cpu", "litert")
            if is_kind(call.operation, layers.Add):
                want(graph.shortcuts(call), "tensorrt")
        elif is_average(call.operation) or graph.chooses(call):
            want(_numbers(call.inputs), "cpu", "litert")
    for call in graph.calls:
        # ONNX Runtime 1.31 makes an integer kernel of a softmax between two pairs, which is wrong
        # by tens of steps.
        if activation_name(call.operation) == "softmax" and id(call.outputs[0]) in wanted:
            for tensor in map(graph.root, call.inputs):
                wanted.get(id(tensor), (tensor, set()))[1].discard("cpu")
    return {identity: pair for identity, pair in wanted.items() if pair[1]}


def _is_cheaper_in_float(call: Call) -> bool:
    """Rule 5."""
    few_weights = math.prod(kernel_of(call.operation).shape) < FEW_WEIGHTS
    is_convolution = is_kind(call.operation, layers.Conv2D)
    return is_convolution and few_weights and call.inputs[0].shape[-1] < FEW_CHANNELS
