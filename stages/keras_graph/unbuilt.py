"""Layers that stand for another one: made first, built where the shape of their input is known."""

from __future__ import annotations

from typing import Any

from keras import layers

from stages.keras_graph.walk import unused_name

Unbuilt = list[tuple[layers.Layer, list[Any]]]
"""Layers to call one after the other, and their weights; none pass the input through."""


def built(steps: Unbuilt, tensor: Any, names: set[str]) -> list[Any]:
    """The layers of `steps`, called one after the other on `tensor`, with names not in `names`."""
    made = []
    for layer, weights in steps:
        layer.name = unused_name(layer.name, names)
        names.add(layer.name)
        layer.build(tensor.shape)
        layer.set_weights(weights)
        tensor = layer.compute_output_spec(tensor)
        made.append(layer)
    return made
