"""Widths that somebody names, layer by layer."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import keras

from stages.errors import ModelError, nearest, suggestion
from stages.keras_graph.producers import layer_of
from stages.pruning.depth import removable
from stages.pruning.sensitivity import Part
from stages.pruning.structured import Layers, Widths, prunable, removed


def widths_named(
    flat: keras.Model, wanted: Mapping[str, int], exclude_layers: Collection[str] = ()
) -> Widths:
    """What `wanted`, channels by the name of a layer of a flat model, makes of groups and blocks.

    0 removes the block of the layer; any other number is what the group of the layer keeps.
    Raises ModelError for what the network does not have, or cannot have together, and for
    excluded layers.
    """
    whole, blocks = prunable(flat, exclude_layers, 1), removable(flat, exclude_layers)
    widths: dict[Layers, int] = {}
    for layer, width in wanted.items():
        parts: Sequence[Part] = blocks if width == 0 else whole
        part = _part(flat, layer, parts, width)
        if width > part.channels:
            raise ModelError(
                f"prune.widths asks for {width} channels of {layer!r}, which has {part.channels}",
                f"ask for at most {part.channels}, or leave the layer out to keep them all",
            )
        if widths.setdefault(part.layers, width) != width:
            others = [layer_of(each) for each in part.layers if layer_of(each) != layer]
            raise ModelError(
                f"prune.widths asks for {width} channels of {layer!r} and for "
                f"{widths[part.layers]} of {', '.join(others)}, which must have as many",
                "name one of these layers",
            )
    everything: list[Part] = [*whole, *blocks]
    channels = {each.layers: each.channels for each in everything}
    if all(width == channels[layers] for layers, width in widths.items()):
        raise ModelError("prune.widths removes no channel and no block", "name fewer channels")
    return widths


def names_of(
    flat: keras.Model, widths: Widths, exclude_layers: Collection[str] = ()
) -> dict[str, int]:
    """The inverse of `widths_named`: what names these widths of a flat model.

    A group whose layers all go with blocks has no name left. Empty where a block has no layer of
    its own, by which it could be named.
    """
    whole, blocks = prunable(flat, exclude_layers, 1), removable(flat, exclude_layers)
    gone = {layer_of(name) for layers in removed(widths) for name in layers}
    found: dict[str, int] = {}
    for layers, width in widths.items():
        parts: Sequence[Part] = whole if width else blocks
        own = [name for name, part in _by_layer(parts).items() if part.layers == layers]
        free = [name for name in own if width == 0 or name not in gone]
        if free:
            found[free[0]] = width
        elif width == 0:
            return {}
    return found


def _by_layer(parts: Sequence[Part]) -> dict[str, Part]:
    return {layer_of(name): part for part in parts for name in part.layers}


def _part(flat: keras.Model, layer: str, parts: Sequence[Part], width: int) -> Part:
    names = _by_layer(parts)
    if layer not in names:
        what = "channels that can be removed" if width else "part in a block that can be removed"
        raise ModelError(
            f"prune.widths names {layer!r}, but {flat.name!r} has no such layer with {what}"
            f"{suggestion(nearest(layer, names))}",
            f"its layers with some: {', '.join(names) or 'none'}",
        )
    return names[layer]
