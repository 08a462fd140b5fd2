"""Zero single weights: two of every four for sparse tensor cores, or the smallest for size."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from stages.errors import ModelError
from stages.keras_graph.cost import kernel_of
from stages.keras_graph.walk import Call, calls
from stages.numerics import sparsity
from stages.pruning.structured import check_names
from stages.results.pruning import SparseLayer, SparseSize

WIDE = 256
"""Input and output channels from which TensorRT's sparse kernels win: NVIDIA's answers in the
issues 3849, 4065 and 2310 of github.com/NVIDIA/TensorRT."""

NONE_IS_WIDE = (
    f"no layer has {WIDE} input and output channels: 2:4 will most likely bring no speed anywhere"
)

Kernel = NDArray[np.float32]


def sparse_calls(flat: keras.Model, exclude_layers: Collection[str]) -> list[Call]:
    """The first call of every layer whose kernel may get zeros.

    These are ordinary convolutions and Dense layers that are not excluded and do not make the
    model's outputs: depthwise and grouped kernels have no sparse form, and little to lose.
    Raises ModelError where there is none, and for an excluded name that no layer has.
    """
    check_names(flat, exclude_layers)
    outputs = {id(tensor) for tensor in flat.outputs}
    found: dict[str, Call] = {}
    for call in calls(flat):
        layer = call.operation
        is_ordinary = type(layer) in (layers.Conv2D, layers.Dense)
        if is_ordinary and getattr(layer, "groups", 1) == 1 and layer.name not in exclude_layers:
            found.setdefault(layer.name, call)
    free = [call for call in found.values() if not outputs & set(map(id, call.outputs))]
    if not free:
        raise ModelError(
            f"{flat.name!r} has no layer whose weights may be zeroed: only convolutions without "
            "groups and Dense layers count, without those in prune.exclude_layers and the last",
            "leave it unpruned: --set prune.ratio=0",
        )
    return free


def two_of_four(flat: keras.Model, exclude_layers: Collection[str]) -> keras.Model:
    """Zero two of every four weights along the input channels, in place. Returns `flat`."""
    for call in sparse_calls(flat, exclude_layers):
        kernel = kernel_of(call.operation)
        # Sparse tensor cores look at four neighbours as the engine stores them, and behind Flatten
        # that is not Keras' order (decision 8).
        values = to_engine_order(kernel.numpy(), call, flat)
        kernel.assign(from_engine_order(values * sparsity.two_of_four(values), call, flat))
    return flat


def smallest(
    flat: keras.Model,
    share: float,
    exclude_layers: Collection[str],
    block: tuple[int, int],
    scope: str,
) -> keras.Model:
    """Zero the share of weights with the smallest magnitudes, by blocks, in place."""
    kernels = [kernel_of(call.operation) for call in sparse_calls(flat, exclude_layers)]
    values = [kernel.numpy() for kernel in kernels]
    masks = sparsity.magnitude_masks(values, share, block, together=scope == "global")
    for kernel, old, mask in zip(kernels, values, masks, strict=True):
        kernel.assign(old * mask)
    return flat


def prospects(flat: keras.Model, exclude_layers: Collection[str]) -> tuple[SparseLayer, ...]:
    """Before any training: which layers are wide enough for sparse kernels to win."""
    rows = []
    for call in sparse_calls(flat, exclude_layers):
        *_, cin, cout = kernel_of(call.operation).shape
        rows.append(
            SparseLayer(
                layer=call.operation.name,
                input_channels=int(cin),
                output_channels=int(cout),
                is_wide_enough=min(cin, cout) >= WIDE,
            )
        )
    return tuple(rows)


def sizes(before: keras.Model, after: keras.Model) -> SparseSize:
    """Bytes of all weights, plain and compressed with zlib, and the share of zeros in kernels."""
    kernels = [weight for weight in after.get_weights() if weight.ndim > 1]
    zeros = sum(int(np.count_nonzero(kernel == 0)) for kernel in kernels)
    return SparseSize(
        zero_share=zeros / sum(kernel.size for kernel in kernels),
        weights_bytes=sum(weight.nbytes for weight in after.get_weights()),
        compressed_bytes_before=sparsity.compressed_bytes(before.get_weights()),
        compressed_bytes_after=sparsity.compressed_bytes(after.get_weights()),
    )


def to_engine_order(kernel: Kernel, call: Call, flat: keras.Model) -> Kernel:
    """A kernel as engines see it: behind Flatten, ONNX has the rows channels-first."""
    shape = _flattened_shape(call, flat)
    if shape is None:
        return kernel
    height, width, channels = shape
    rows = kernel.reshape(height * width, channels, -1).swapaxes(0, 1)
    return np.ascontiguousarray(rows).reshape(kernel.shape)


def from_engine_order(kernel: Kernel, call: Call, flat: keras.Model) -> Kernel:
    """The inverse of `to_engine_order`."""
    shape = _flattened_shape(call, flat)
    if shape is None:
        return kernel
    height, width, channels = shape
    rows = kernel.reshape(channels, height * width, -1).swapaxes(0, 1)
    return np.ascontiguousarray(rows).reshape(kernel.shape)


def _flattened_shape(call: Call, flat: keras.Model) -> tuple[int, int, int] | None:
    """(H, W, C) of the image that was flattened into the input of a Dense layer, if one was."""
    if type(call.operation) is not layers.Dense:
        return None
    producers: Mapping[int, Call] = {id(each.outputs[0]): each for each in calls(flat)}
    tensor = call.inputs[0]
    while (source := producers.get(id(tensor))) is not None and len(source.inputs) == 1:
        tensor = source.inputs[0]
        if len(tensor.shape) == 4:
            height, width, channels = tensor.shape[1:]
            is_flattened = math.prod(tensor.shape[1:]) == call.inputs[0].shape[-1]
            return (height, width, channels) if is_flattened and height * width > 1 else None
        if type(source.operation) is layers.Dense:
            return None
    return None
