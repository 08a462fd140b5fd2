"""Attention of several heads, spelled out: its projections, and a product of what these return.

MultiHeadAttention and GroupQueryAttention become the Dense layers of their projections with this
between them, where every head has P query and S key positions:

    softmax(query (P, D) @ key (S, D)^T / sqrt(D) + mask) @ value (S, V)

(Vaswani et al., 'Attention Is All You Need', section 3.2). So the projections are quantized as
every Dense layer is; the product itself stays in float. Dropout inside acts in training only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

from stages.errors import ModelError
from stages.keras_graph.einsum import as_dense
from stages.keras_graph.unbuilt import built
from stages.keras_graph.walk import name_operation, unused_name

ATTENTION = (layers.MultiHeadAttention, layers.GroupQueryAttention)
PROJECTIONS = ("query", "key", "value", "gate", "attention_output")
MASKED = -30000.0
"""Score where a mask forbids: its exponential is 0, and float16 holds it."""


class Attention:
    """The projections of an attention layer, and what stands between them in each of its calls.

    `names` are those taken in the model. Subclasses may compute anything: they have no place here.
    """

    def __init__(self, layer: Any, names: set[str]) -> None:
        self.layer, self.names = layer, names
        inside = layer._flatten_layers(include_self=False)
        self.projections = {each.name: each for each in inside if each.name in PROJECTIONS}
        for name, projection in self.projections.items():
            projection.name = f"{layer.name}_{name}"
        self.dense: dict[tuple[str, Any], list[Any]] = {}

    def __call__(
        self,
        query: Any,
        value: Any,
        key: Any = None,
        query_mask: Any = None,
        value_mask: Any = None,
        key_mask: Any = None,
        attention_mask: Any = None,
        return_attention_scores: bool = False,
        training: bool | None = None,
        use_causal_mask: bool = False,
    ) -> Any:
        """As the layer itself, at inference: (N, ..., C) -> (N, ..., C'), and the scores if asked.

        Raises ModelError for masks that are not constants.
        """
        key = value if key is None else key
        masks = query_mask, value_mask, key_mask, *map(_mask_of, (query, value, key))
        self._refuse(any(each is not None for each in masks), "a mask from the layers before it")
        self._refuse(None in (*query.shape[1:], *key.shape[1:]), "an open number of positions")
        mask = self._mask(query, value, attention_mask, use_causal_mask)
        axes = getattr(self.layer, "attention_axes", None) or (1,)
        heads = self._project("query", query)
        rows = self._rows(heads, axes)
        keys = self._rows(self._project("key", key), axes)
        values = self._rows(self._project("value", value), axes)
        result, scores = self._product(rows, keys, values, mask)
        order = _order(heads, axes)
        result = self._reshaped(
            result, (*(heads.shape[axis] for axis in order[:-1]), result.shape[-1])
        )
        result = self._permuted(result, [order.index(axis) + 1 for axis in sorted(order)])
        if "gate" in self.projections:
            gate = self._project("gate", query)
            result = self._named(ops.multiply(result, gate), "gated")
        output = self._project("attention_output", result)
        return [output, scores] if return_attention_scores else output

    def _project(self, name: str, tensor: Any) -> Any:
        """By the projection `name`, as Dense layers: (N, ..., C) -> (N, ..., heads, D)."""
        key = name, tensor.shape
        if key not in self.dense:
            steps = as_dense(self.projections[name], tensor)
            self.dense[key] = built(steps, tensor, self.names)
        for layer in self.dense[key]:
            tensor = layer(tensor)
        return tensor

    def _rows(self, heads: Any, axes: Sequence[int]) -> Any:
        """(N, ..., heads, D) as (N, what is not attended to, heads, positions, D)."""
        moved = self._permuted(heads, _order(heads, axes))
        outside = moved.shape[1 : -1 - len(axes)]
        positions = math.prod(heads.shape[axis] for axis in axes)
        return self._reshaped(moved, (*outside, positions, heads.shape[-1]))

    def _product(self, query: Any, key: Any, value: Any, mask: Any) -> tuple[Any, Any]:
        """(N, ..., heads, P, D), (.., S, D) and (.., S, V) -> (.., P, V), and scores (.., P, S).

        Where a head of the keys serves several of the queries, these are more positions of it.
        """
        *outside, positions, width = query.shape[1:]
        scale = 1 / math.sqrt(width)
        query = self._named(ops.multiply(query, scale), "scaled")
        query = self._reshaped(query, (*key.shape[1:-2], -1, width))
        turned = self._named(ops.swapaxes(key, -1, -2), "turned")
        scores = self._named(ops.matmul(query, turned), "scores")
        together = scores.shape[1:]
        scores = self._reshaped(scores, (*outside, positions, key.shape[-2]))
        if mask is not None:
            scores = self._named(ops.where(mask, scores, MASKED), "masked")
        scores = self._made(layers.Softmax(), "softmax", scores)
        shares = self._reshaped(scores, together)
        result = self._named(ops.matmul(shares, value), "product")
        return self._reshaped(result, (*outside, positions, value.shape[-1])), scores

    def _mask(
        self, query: Any, value: Any, given: Any, is_causal: bool
    ) -> NDArray[np.bool_] | None:
        """Where a query position (rows) may see a key position; None where it may everywhere."""
        window = self.layer.get_config().get("sliding_window")
        if given is None and not is_causal and window is None:
            return None
        self._refuse(keras.backend.is_keras_tensor(given), "a mask that is computed")
        self._refuse(len(query.shape) != 3, "a mask over several axes")
        ahead = np.arange(value.shape[1]) - np.arange(query.shape[1])[:, np.newaxis]
        mask = np.ones(ahead.shape, bool)
        if is_causal:
            mask &= ahead <= 0
        if window is not None:
            mask &= np.abs(ahead) < window
        if given is not None:
            mask = np.asarray(given).astype(bool) & mask
        # (N, P, S) -> (N, heads, P, S)
        return np.expand_dims(mask, -3) if mask.ndim == 3 else mask

    def _refuse(self, is_there: bool, what: str) -> None:
        if is_there:
            raise ModelError(
                f"attention layer {self.layer.name!r} has {what}, which no graph here can have",
                "give it inputs of a fixed size, and at most a constant mask",
            )

    def _permuted(self, tensor: Any, order: Sequence[int]) -> Any:
        return self._made(layers.Permute(tuple(order)), "order", tensor)

    def _reshaped(self, tensor: Any, shape: Sequence[int]) -> Any:
        if tuple(shape) == tensor.shape[1:]:
            return tensor
        return self._made(layers.Reshape(tuple(shape)), "shape", tensor)

    def _made(self, layer: Any, name: str, tensor: Any) -> Any:
        layer.name = self._unused(name)
        return layer(tensor)

    def _named(self, tensor: Any, name: str) -> Any:
        name_operation(tensor, self._unused(name))
        return tensor

    def _unused(self, name: str) -> str:
        # Keras counts on from names of its own, which the user's model may have already.
        unused = unused_name(f"{self.layer.name}_{name}", self.names)
        self.names.add(unused)
        return unused


def _order(heads: Any, axes: Sequence[int]) -> list[int]:
    """The axes of (N, ..., heads, D) with the heads before those that are attended to."""
    rank = len(heads.shape)
    rest = [axis for axis in range(1, rank - 2) if axis not in axes]
    return [*rest, rank - 2, *axes, rank - 1]


def _mask_of(tensor: Any) -> Any:
    """What Masking and Embedding layers hang on a tensor, and all layers behind them pass on."""
    return getattr(tensor, "_keras_mask", None)
