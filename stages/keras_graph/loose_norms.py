"""Batch normalisation that has no layer before it to fold into, as behind a ReLU.

At inference it is y = x * factor + shift for every channel. Most of it leaves the graph:

    |factor|          moves back through the ReLU, as ReLU(a x) = a ReLU(x), into the kernel before
    sign and shift    move forward, past what gives the same in either order, into the next kernel:
                      b'[o] = b[o] + sum of w[i, o] * shift[i] over all i and places

The magnitude goes back because kernels have a scale per *output* channel: there it costs no
precision, and the tensor between gets channels of like size, as the normalisation meant. The shift
folds exactly where every output sees the whole kernel: it may not meet zero padding.

What cannot fold, as behind an addition or a concatenation, becomes a depthwise 1x1 convolution:
engines would leave it and what they compute around it in float, between two INT8 kernels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from stages.keras_graph.activations import is_homogeneous
from stages.keras_graph.cost import TRANSPOSED, kernel_of
from stages.keras_graph.kernels import DEPTHWISE, WEIGHTED, scaled
from stages.keras_graph.kinds import is_kind
from stages.keras_graph.walk import Call, apply, calls, rebuild, unused_name

IMAGE_RANK = 4  # (N, H, W, C)
AVERAGES = (
    *(layers.AveragePooling1D, layers.AveragePooling2D, layers.AveragePooling3D),
    *(layers.GlobalAveragePooling1D, layers.GlobalAveragePooling2D, layers.GlobalAveragePooling3D),
)
LARGEST = (
    *(layers.MaxPooling1D, layers.MaxPooling2D, layers.MaxPooling3D),
    *(layers.GlobalMaxPooling1D, layers.GlobalMaxPooling2D, layers.GlobalMaxPooling3D),
)
PADS = (layers.ZeroPadding1D, layers.ZeroPadding2D, layers.ZeroPadding3D)
CROPS = (layers.Cropping1D, layers.Cropping2D, layers.Cropping3D)


@dataclass(frozen=True)
class Affine:
    """y = x * factor + shift, both (C,) float64."""

    factor: NDArray[np.float64]
    shift: NDArray[np.float64]


def affine(norm: Any) -> Affine:
    """What a batch normalisation computes at inference.

    factor = gamma / sqrt(var + eps), shift = beta - mean * factor: Ioffe and Szegedy, 'Batch
    Normalization', section 3.1.
    """
    # In float64: a variance near zero makes this factor large, and float32 would round it and
    # then the product.
    factor = 1.0 / np.sqrt(norm.moving_variance.numpy().astype(np.float64) + norm.epsilon)
    if norm.scale:
        factor = factor * norm.gamma.numpy()
    beta = norm.beta.numpy() if norm.center else 0.0
    return Affine(factor, beta - norm.moving_mean.numpy() * factor)


@dataclass(frozen=True)
class _Move:
    """Where the normalisation of `norm` goes.

    back     the layer whose kernel takes the magnitudes, if there is one
    ahead    the layer whose kernel takes the rest; None if that becomes a convolution, which
             stands behind the call `behind`
    """

    norm: Call
    back: Any
    behind: Call
    ahead: Any

    @property
    def rest(self) -> Affine:
        """What moves forward."""
        return _rest(affine(self.norm.operation), self.back)


def carry_over(folded: keras.Model) -> keras.Model:
    """A model that computes what `folded` does, with its normalisation moved as above.

    `folded` is as fold.py makes it, and returned itself where there is nothing to move. Everything
    else is the same layer object, and takes the new weights: `folded` has to be the caller's own
    copy.
    """
    moves = list(_Graph(folded).moves())
    if not moves:
        return folded
    for move in moves:
        if move.back is not None:
            _scale_outputs(move.back, np.abs(affine(move.norm.operation).factor))
        if move.ahead is not None:
            _change_inputs(move.ahead, move.rest)
    gone = {id(move.norm.outputs[0]) for move in moves}
    names = {call.operation.name for call in calls(folded) if id(call.outputs[0]) not in gone}
    made = {}
    for move in moves:
        if move.ahead is None:
            name = unused_name(move.norm.operation.name, names)
            names.add(name)
            made[id(move.behind.outputs[0])] = _convolution(move.rest, name)

    def visit(call: Call, *args: Any, **kwargs: Any) -> Any:
        result = args[0] if id(call.outputs[0]) in gone else apply(call, *args, **kwargs)
        convolution = made.get(id(call.outputs[0]))
        return convolution(result) if convolution else result

    return rebuild(folded, visit)


class _Graph:
    """Who makes and who reads the tensors of a folded model."""

    def __init__(self, folded: keras.Model) -> None:
        self.calls = calls(folded)
        self.producer = {id(out): call for call in self.calls for out in call.outputs}
        self.readers: dict[int, list[Call]] = {}
        for call in self.calls:
            for tensor in call.inputs:
                self.readers.setdefault(id(tensor), []).append(call)
        self.behind_kernels: set[int] = set()
        for call in self.calls:
            is_behind = not self.behind_kernels.isdisjoint(map(id, call.inputs))
            if is_kind(call.operation, WEIGHTED) or is_behind:
                self.behind_kernels.update(map(id, call.outputs))
        self.how_often = Counter(id(call.operation) for call in self.calls)
        self.ends = {id(tensor) for tensor in folded.outputs}

    def moves(self) -> Iterator[_Move]:
        """Every normalisation behind a weighted layer, and where it goes."""
        for norm in self.calls:
            if not _is_over_channels(norm) or not self._comes_from_a_kernel(norm):
                continue
            back = self._layer_before(norm)
            rest, way = _rest(affine(norm.operation), back), [norm]
            while (reader := self._only_reader(way[-1])) and _passes(reader, rest):
                way.append(reader)
            images = [call for call in way if len(call.outputs[0].shape) == IMAGE_RANK]
            if back is not None and reader and self._is_own(reader) and _takes(reader, rest):
                yield _Move(norm, back, way[-1], reader.operation)
            elif images:
                yield _Move(norm, back, images[-1], None)

    def _only_reader(self, call: Call) -> Call | None:
        """What reads the output of `call`, unless something else needs it as well."""
        tensor = call.outputs[0]
        found = self.readers.get(id(tensor), [])
        return found[0] if len(found) == 1 and id(tensor) not in self.ends else None

    def _is_own(self, call: Call) -> bool:
        """Whether the layer of `call` is called nowhere else, so that its kernel may change."""
        return self.how_often[id(call.operation)] == 1

    def _layer_before(self, norm: Call) -> Any:
        """The layer whose kernel can take the magnitudes of `norm`, or None."""
        call = self.producer.get(id(norm.inputs[0]))
        while call is not None and self._only_reader(call) is not None:
            if is_kind(call.operation, WEIGHTED):
                return call.operation if self._is_own(call) else None
            is_passed = is_kind(call.operation, (*AVERAGES, *LARGEST, *PADS))
            if not is_passed and not is_homogeneous(call.operation):
                return None
            call = self.producer.get(id(call.inputs[0]))
        return None

    def _comes_from_a_kernel(self, norm: Call) -> bool:
        """Whether a weighted layer comes before `norm`, on any way."""
        return id(norm.inputs[0]) in self.behind_kernels


def _rest(change: Affine, back: Any) -> Affine:
    """What is left of `change` where a layer `back` takes its magnitudes."""
    return change if back is None else Affine(np.where(change.factor < 0, -1.0, 1.0), change.shift)


def _is_over_channels(call: Call) -> bool:
    last = (-1, len(call.inputs[0].shape) - 1)
    return type(call.operation) is layers.BatchNormalization and call.operation.axis in last


def _passes(reader: Call, change: Affine) -> bool:
    """Whether `change` behind `reader` is the same as before it."""
    layer = reader.operation
    if getattr(layer, "data_format", "") != "channels_last":
        return False
    if is_kind(layer, LARGEST):
        return bool((change.factor >= 0).all())
    if is_kind(layer, PADS):
        return not change.shift.any()
    return is_kind(layer, (layers.Flatten, *CROPS, *AVERAGES))


def _takes(reader: Call, change: Affine) -> bool:
    """Whether `change` can fold into the kernel of `reader`, exactly."""
    layer = reader.operation
    if type(layer) is layers.Dense:
        return True
    if type(layer) not in WEIGHTED or layer.data_format != "channels_last":
        return False
    if isinstance(layer, TRANSPOSED):  # at the borders it sees a part of the kernel
        return not change.shift.any()
    is_padded = _pads(layer, reader.inputs[0].shape)
    return getattr(layer, "groups", 1) == 1 and not (is_padded and change.shift.any())


def _pads(layer: Any, shape: tuple[int | None, ...]) -> bool:
    """Whether a convolution pads an image of `shape` (N, H, W, C), a signal or a volume."""
    if layer.padding == "valid":
        return False
    for size, kernel, stride, dilation in zip(
        shape[1:-1], layer.kernel_size, layer.strides, layer.dilation_rate, strict=True
    ):
        reach = (kernel - 1) * dilation + 1
        if layer.padding == "causal" and reach > 1:
            return True
        if size is None or (-(-size // stride) - 1) * stride + reach > size:
            return True
    return False


def _scale_outputs(layer: Any, factor: NDArray[np.float64]) -> None:
    layer.set_weights([scaled(layer, factor), layer.bias.numpy() * factor])


def _change_inputs(layer: Any, change: Affine) -> None:
    """Fold `change` of its input into the weights of `layer`, in place."""
    kernel, bias = kernel_of(layer).numpy().astype(np.float64), layer.bias.numpy()
    # A flattened image repeats its channels for every place.
    repeats = kernel.shape[0] // len(change.factor) if isinstance(layer, layers.Dense) else 1
    factor, shift = np.tile(change.factor, repeats), np.tile(change.shift, repeats)
    if isinstance(layer, TRANSPOSED):  # (kh, kw, cout, cin), and the shift is zero
        layer.set_weights([kernel * factor, bias])
        return
    moved = kernel * shift[:, np.newaxis]
    if isinstance(layer, DEPTHWISE):
        added = moved.sum(axis=tuple(range(kernel.ndim - 2))).reshape(-1)
    else:
        added = moved.sum(axis=tuple(range(kernel.ndim - 1)))
    layer.set_weights([kernel * factor[:, np.newaxis], bias + added])


def _convolution(change: Affine, name: str) -> Any:
    """`change` as a depthwise 1x1 convolution."""
    layer = layers.DepthwiseConv2D(1, name=name)
    layer.build((None, None, None, len(change.factor)))
    layer.set_weights([change.factor[np.newaxis, np.newaxis, :, np.newaxis], change.shift])
    return layer
