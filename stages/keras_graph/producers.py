"""The kernels that make channels, by the name of what they make.

A layer has one, of its own name; an EinsumDense layer that makes no new channels has none, and
attention has four. Those of its heads have names with a slash, which no layer has: "heads/query" is
what the query projection of the layer "heads" makes.
"""

from __future__ import annotations

from typing import Any

from keras import layers

from stages.keras_graph.cost import kernel_of
from stages.keras_graph.kernels import output_axis

HEADS = ("query", "key", "value")


def channel_kernels(layer: Any) -> dict[str, tuple[Any, int]]:
    """Name -> the kernel that makes these channels, and their axis in it.

    In each head of an attention layer, channel i of all heads is one: (cin, heads, D) -> 2.
    """
    name = str(layer.name)
    if isinstance(layer, (layers.SeparableConv1D, layers.SeparableConv2D)):
        return {name: (layer.pointwise_kernel, len(layer.pointwise_kernel.shape) - 1)}
    if isinstance(layer, layers.EinsumDense):
        axes = einsum_axes(layer)
        return {name: (kernel_of(layer), axes[1])} if axes else {}
    if isinstance(layer, layers.MultiHeadAttention):
        kernel = kernel_of(layer.output_dense)
        heads = {part: kernel_of(getattr(layer, f"{part}_dense")) for part in HEADS}
        made = {within(layer, part): (kernel, 2) for part, kernel in heads.items()}
        return {name: (kernel, len(kernel.shape) - 1), **made}
    return {name: (kernel_of(layer), output_axis(layer))}


def within(layer: Any, part: str) -> str:
    """The name of what a projection of the attention layer `layer` makes."""
    return f"{layer.name}/{part}"


def layer_of(name: str) -> str:
    """The name of the layer that makes what is called `name`."""
    return name.partition("/")[0]


def einsum_axes(layer: Any) -> tuple[int, int] | None:
    """Axes of the last axis of the input and of the output in the kernel of an EinsumDense layer.

    "abc,cde->abde" -> (0, 2). None where the kernel does not end the one and make the other, as
    in "abc,bd->adc": the layer makes no new channels of those that it sees.
    """
    source, rest = layer.equation.replace(" ", "").split(",")
    kernel, result = rest.split("->")
    seen, made = source[-1], result[-1]
    is_kept = seen in result or made in source
    if is_kept or seen not in kernel or made not in kernel:
        return None
    return kernel.index(seen), kernel.index(made)
