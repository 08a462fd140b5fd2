"""Layers that engines and converters do not know, spelled out in layers that they do.

| layer | becomes | why |
| --- | --- | --- |
| SeparableConv2D, 1D | DepthwiseConv2D, Conv2D 1x1 | two INT8 kernels; normalisation folds |
| Conv2D with as many groups as channels | DepthwiseConv2D | converters only know that one |
| Dense over the channels of an image | Conv2D 1x1 | stays channels-first, with an INT8 kernel |
| EinsumDense that is a matrix product | that Dense, with Reshape around it | an INT8 kernel |
| Conv2DTranspose with dilation or beyond its kernel | one with zeros in its kernel | see below |
| adaptive pooling to windows of equal size | that pooling | engines know it |
| MultiHeadAttention, GroupQueryAttention | Dense and a product | attention.py |
| LayerScale (ConvNeXt) | BatchNormalization | folds into the layer before it |
| StochasticDepth (ConvNeXt) | nothing | acts in training only |

A transposed convolution that leaves gaps or adds rows (a kernel smaller than its strides, or
`output_padding`) has negative padding in ONNX, which is invalid; LiteRT has no dilated one.

All are exact at inference, and what they become is plain Keras. What only has to be *traced*
differently (exact GELU, other grouped convolutions) stays as it is: see tracing.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import layers

from stages.errors import ModelError
from stages.keras_graph.attention import ATTENTION, Attention
from stages.keras_graph.cost import kernel_of
from stages.keras_graph.einsum import IMAGE_RANK, as_dense, is_matrix_product
from stages.keras_graph.unbuilt import Unbuilt, built
from stages.keras_graph.walk import Call, apply, calls, rebuild

Rule = Callable[[Any], Unbuilt]
"""layer -> what replaces it."""
SEPARABLE: dict[type, tuple[Any, Any]] = {
    layers.SeparableConv1D: (layers.DepthwiseConv1D, layers.Conv1D),
    layers.SeparableConv2D: (layers.DepthwiseConv2D, layers.Conv2D),
}
"""What each is made of."""


def rewrite(flat: keras.Model) -> keras.Model:
    """A model for inference that computes what `flat` does, without the layers listed above.

    Everything else is the same layer object: `flat` has to be the caller's own copy.
    """
    graph = calls(flat)
    names = {str(call.operation.name) for call in graph if _rule(call, call.inputs[0]) is None}
    replaced: dict[tuple[int, Any], list[Any]] = {}
    attention: dict[int, Attention] = {}

    def visit(call: Call, *args: Any, **kwargs: Any) -> Any:
        if type(call.operation) in ATTENTION:
            found = attention.get(id(call.operation)) or Attention(call.operation, names)
            attention[id(call.operation)] = found
            return found(*args, **kwargs)
        spell_out = _rule(call, args[0] if args else call.inputs[0])
        if spell_out is None:
            return apply(call, *args, **kwargs)
        tensor = args[0]
        # By rank as well: a Dense that is shared by an image and a vector becomes a
        # convolution for one of them only. A Reshape has one shape.
        has_shape = _pooling(call.operation, tensor) or type(call.operation) is layers.EinsumDense
        key = (id(call.operation), tensor.shape if has_shape else len(tensor.shape))
        if key not in replaced:
            replaced[key] = built(spell_out(call.operation), tensor, names)
        for layer in replaced[key]:
            tensor = layer(tensor)
        return tensor

    return rebuild(flat, visit)


def _rule(call: Call, tensor: Any) -> Rule | None:
    """How the layer of `call` is spelled out, called on `tensor`; None if it stays.

    A subclass always stays.
    """
    layer, kind = call.operation, type(call.operation)
    if kind in SEPARABLE and layer.data_format == "channels_last":
        return _separable
    if kind is layers.Conv2D and _is_depthwise(layer, tensor):
        return _depthwise
    if kind is layers.Dense and len(tensor.shape) == IMAGE_RANK:
        return _pointwise
    if kind is layers.EinsumDense and is_matrix_product(layer, tensor):
        return partial(as_dense, tensor=tensor)
    if kind is layers.Conv2DTranspose and _is_beyond_engines(layer):
        return _transposed
    if _pooling(layer, tensor):
        return partial(_equal_windows, tensor=tensor)
    # These two have no public name.
    if kind.__module__.startswith("keras."):
        return {"LayerScale": _scale, "StochasticDepth": lambda layer: []}.get(kind.__name__)
    return None


def _is_depthwise(layer: Any, tensor: Any) -> bool:
    one_per_channel = 1 < layer.groups == tensor.shape[-1]
    # TensorFlow has no depthwise convolution with unequal strides.
    return bool(
        one_per_channel
        and layer.data_format == "channels_last"
        and layer.strides[0] == layer.strides[1]
    )


def _is_beyond_engines(layer: Any) -> bool:
    if layer.data_format != "channels_last":
        return False
    is_dilated = any(rate != 1 for rate in layer.dilation_rate)
    return is_dilated or any(r > k for r, k in zip(_reach(layer), layer.kernel_size, strict=True))


def _reach(layer: Any) -> tuple[int, int]:
    """Rows and columns that a transposed convolution makes of a single position."""
    size = 8  # any: each further one adds as many as the strides say
    _, height, width, _ = layer.compute_output_shape((1, size, size, kernel_of(layer).shape[-1]))
    rows, columns = layer.strides
    return height - (size - 1) * rows, width - (size - 1) * columns


_WINDOW = ("strides", "padding", "data_format", "dilation_rate")


def _options(layer: Any, *names: str) -> dict[str, Any]:
    return {name: getattr(layer, name) for name in names}


def _separable(layer: Any) -> Unbuilt:
    depthwise, pointwise, *bias = layer.get_weights()
    depthwise_kind, pointwise_kind = SEPARABLE[type(layer)]
    first = depthwise_kind(
        layer.kernel_size,
        depth_multiplier=layer.depth_multiplier,
        use_bias=False,
        name=f"{layer.name}_depthwise",
        **_options(layer, *_WINDOW),
    )
    second = pointwise_kind(
        layer.filters,
        1,
        name=f"{layer.name}_pointwise",
        **_options(layer, "activation", "use_bias"),
    )
    return [(first, [depthwise]), (second, [pointwise, *bias])]


def _depthwise(layer: Any) -> Unbuilt:
    """Kernel (kh, kw, 1, c * m) as (kh, kw, c, m): in both, output c * m + i sees channel c."""
    kernel, *bias = layer.get_weights()
    multiplier = layer.filters // layer.groups
    depthwise = layers.DepthwiseConv2D(
        layer.kernel_size,
        depth_multiplier=multiplier,
        name=layer.name,
        **_options(layer, *_WINDOW, "activation", "use_bias"),
    )
    shape = (*kernel.shape[:2], layer.groups, multiplier)
    return [(depthwise, [kernel.reshape(shape), *bias])]


def _pointwise(layer: Any) -> Unbuilt:
    kernel, *bias = layer.get_weights()
    convolution = layers.Conv2D(
        layer.units, 1, name=layer.name, **_options(layer, "activation", "use_bias")
    )
    return [(convolution, [kernel[np.newaxis, np.newaxis], *bias])]


def _transposed(layer: Any) -> Unbuilt:
    """Zeros between and behind the rows of the kernel; what "same" padding drops is cropped."""
    kernel, *bias = layer.get_weights()
    reach, rates = _reach(layer), layer.dilation_rate
    spread = [(k - 1) * rate + 1 for k, rate in zip(layer.kernel_size, rates, strict=True)]
    size = [max(pair) for pair in zip(spread, reach, strict=True)]
    larger = np.zeros((*size, *kernel.shape[2:]), kernel.dtype)
    larger[: spread[0] : rates[0], : spread[1] : rates[1]] = kernel
    transposed = layers.Conv2DTranspose(
        layer.filters,
        size,
        output_padding=0,
        name=layer.name,
        **_options(layer, "strides", "activation", "use_bias"),
    )
    dropped = [whole - kept for whole, kept in zip(size, reach, strict=True)]
    if not any(dropped):
        return [(transposed, [larger, *bias])]
    # As TensorFlow does it: the odd row goes at the end.
    crop = layers.Cropping2D([(each // 2, each - each // 2) for each in dropped])
    return [(transposed, [larger, *bias]), (crop, [])]


def _pooling(layer: Any, tensor: Any) -> Any:
    """The kind of pooling that the adaptive one `layer` does with `tensor`, in windows of equal
    size; None where there is no such kind.

    Raises ModelError for averages over windows of unequal size: Keras takes them of the rows, then
    of the columns, and LiteRT rounds both to integers.
    """
    kind = type(layer)
    # By name: Keras 3.12 has no adaptive pooling yet.
    if not kind.__module__.startswith("keras.") or not kind.__name__.startswith("Adaptive"):
        return None
    places = tensor.shape[1:-1]
    if layer.data_format != "channels_last" or None in places:
        return None
    is_equal = all(size % n == 0 for size, n in zip(places, layer.output_size, strict=True))
    if not is_equal and "Average" in kind.__name__:
        raise ModelError(
            f"layer {layer.name!r} averages {places} places to {tuple(layer.output_size)}: windows "
            "of unequal size, which no INT8 engine here computes exactly",
            "choose an output_size that divides the size of its input",
        )
    return getattr(layers, kind.__name__.removeprefix("Adaptive")) if is_equal else None


def _equal_windows(layer: Any, tensor: Any) -> Unbuilt:
    places = zip(tensor.shape[1:-1], layer.output_size, strict=True)
    pool = _pooling(layer, tensor)([size // n for size, n in places], name=layer.name)
    return [(pool, [])]


def _scale(layer: Any) -> Unbuilt:
    """x * gamma as gamma * (x - 0) / sqrt(1 + 0)."""
    (gamma,) = layer.get_weights()
    norm = layers.BatchNormalization(center=False, epsilon=0.0, name=layer.name)
    return [(norm, [gamma, np.zeros_like(gamma), np.ones_like(gamma)])]
