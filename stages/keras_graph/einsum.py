"""EinsumDense layers that are a matrix product, as Dense layers."""

from __future__ import annotations

import itertools
import math
import re
import string
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers

from stages.keras_graph.unbuilt import Unbuilt

IMAGE_RANK = 4  # (N, H, W, C)


@dataclass(frozen=True)
class _Letters:
    """Axes of "abc,cde->abde": those that stay (ab), are summed over (c), are made (de)."""

    free: str
    bound: str
    made: str
    kernel: str


def _letters(layer: Any, rank: int) -> _Letters | None:
    """None where the sum is no matrix product over the last axes of an input of `rank` axes."""
    source, kernel, result = re.split(",|->", layer.equation.replace(" ", ""))
    elided = string.ascii_letters.translate({ord(each): None for each in layer.equation})
    elided = elided[: rank - len(source.replace(".", ""))]
    source, result = (each.replace("...", elided) for each in (source, result))
    shared = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(source, result, strict=False))
    free = "".join(letter for letter, _ in shared)
    bound, made = source[len(free) :], result[len(free) :]
    is_product = free and bound and made and sorted(kernel) == sorted(bound + made)
    # A bias for each position is none of a Dense layer.
    has_own_bias = set(layer.bias_axes or "") <= set(made)
    return _Letters(free, bound, made, kernel) if is_product and has_own_bias else None


def is_matrix_product(layer: Any, tensor: Any) -> bool:
    """Whether a Dense layer computes what the EinsumDense `layer` does with `tensor`."""
    # Of several axes, a softmax would be over the last one only; a layer may have weights.
    has_own_layer = isinstance(layer.activation, layers.Layer)
    return not has_own_layer and _letters(layer, len(tensor.shape)) is not None


def as_dense(layer: Any, tensor: Any) -> Unbuilt:
    """Layers that compute what `layer` does with `tensor`, a matrix product, one after the other.

    Each is not built yet, and beside it are its weights. Over the channels of an image it is a 1x1
    convolution, else a Dense layer; several axes to sum over or to make are one to these.
    """
    letters = _letters(layer, len(tensor.shape))
    if letters is None:
        raise ValueError(f"{layer.equation} is no matrix product")
    kernel = np.asarray(layer.kernel)
    bias = [] if layer.bias is None else [layer.bias.numpy()]
    sizes = dict(zip(letters.kernel, kernel.shape, strict=True))
    widths = [sizes[letter] for letter in letters.made]
    # One axis may be open: Reshape finds it.
    free = [-1 if size is None else size for size in tensor.shape[1 : len(letters.free)]]
    units = math.prod(widths)
    matrix = np.einsum(f"{letters.kernel}->{letters.bound + letters.made}", kernel)
    matrix = matrix.reshape(-1, units)
    options = {"use_bias": bool(bias), "name": layer.name}
    if len(widths) == 1:
        options["activation"] = layer.activation
    is_image = len(letters.free) == IMAGE_RANK - 1
    made = layers.Conv2D(units, 1, **options) if is_image else layers.Dense(units, **options)
    weights = [matrix[np.newaxis, np.newaxis] if is_image else matrix]
    weights += [np.broadcast_to(each, widths).reshape(-1) for each in bias]
    steps: Unbuilt = [(made, weights)]
    if len(letters.bound) > 1:
        rows = layers.Reshape((*free, len(matrix)), name=f"{layer.name}_rows")
        steps.insert(0, (rows, []))
    if len(widths) > 1:
        steps.append((layers.Reshape((*free, *widths), name=f"{layer.name}_axes"), []))
        if layer.activation is not keras.activations.linear:
            name = f"{layer.name}_activation"
            steps.append((layers.Activation(layer.activation, name=name), []))
    return steps
