"""Remove whole channels, how many of each group and which, and whole blocks of layers."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import keras

from stages.errors import ModelError, NothingPruned, nearest, suggestion
from stages.keras_graph.blocks import remove
from stages.keras_graph.channel_rules import PRODUCERS
from stages.keras_graph.channels import Group, groups, left_whole
from stages.keras_graph.producers import channel_kernels, layer_of
from stages.keras_graph.shrink import shrink
from stages.keras_graph.walk import calls
from stages.numerics.channel_scores import Scores, group_scores, strongest, width
from stages.results.pruning import PrunedGroup

Layers = tuple[str, ...]
Widths = Mapping[Layers, int]
"""Channels that groups are to have, by the names of their layers; other groups do not change.

0 is for the layers of a block: it goes (stages/keras_graph/blocks.py)."""

VECTOR_RANK = 2

WITHOUT_TARGET = "leave out prune.target_latency_ratio and prune.max_accuracy_drop"
"""A target outweighs the ratio: with one, ratio 0 leaves nothing unpruned."""


@dataclass(frozen=True)
class Prunable:
    """A group that may lose channels, but only `multiple` of them at a time."""

    layers: Layers
    channels: int
    multiple: int

    def narrowed(self, ratio: float) -> int:
        """How many channels stay when the share `ratio` is to go."""
        return width(self.channels, ratio, self.multiple)


def prunable(
    flat: keras.Model,
    exclude_layers: Collection[str],
    channel_multiple: int,
    layers: Literal["convolutions", "all"] = "all",
) -> list[Prunable]:
    """The groups of a flat model that may lose channels, without those of `exclude_layers`.

    Nor with `convolutions` those of nothing but Dense layers on one vector per image. Raises
    ModelError for an excluded name that is no layer, and where all groups are excluded.
    """
    check_names(flat, exclude_layers)
    found = groups(flat)
    free = [group for group in found if not set(map(layer_of, group.layers)) & set(exclude_layers)]
    if found and not free:
        raise ModelError(
            f"the model {flat.name!r} has no channels that can be removed: all of its groups of "
            "layers have one in prune.exclude_layers",
            "exclude fewer, or leave it unpruned: --set prune.ratio=0, without widths or a target",
        )
    spared = _on_vectors(flat) if layers == "convolutions" else set()
    return [
        Prunable(group.layers, len(group.channels), _multiple(group, channel_multiple))
        for group in free
        if not set(group.layers) <= spared
    ]


def obstacle(flat: keras.Model, found: Sequence[Prunable]) -> str | None:
    """Why no ratio removes a channel of the groups `found` of `flat`; None if one does."""
    if not found and groups(flat):
        return (
            "because only Dense layers on one vector per image could lose channels, which "
            "prune.layers=all would let them"
        )
    if not found:
        return (
            "because no channels can be removed: its outputs must stay, and so must all channels "
            "that reach a layer which pruning does not know"
        )
    if any(group.channels > group.multiple for group in found):
        return None
    widest = max(found, key=lambda group: group.channels)
    return (
        "because prune.channel_multiple leaves every group of layers at its full width: the widest "
        f"({', '.join(widest.layers)}) has {widest.channels} channels and keeps a multiple of "
        f"{widest.multiple}"
    )


def left_out(flat: keras.Model, exclude_layers: Collection[str]) -> str | None:
    """Which layers of `flat` no ratio cuts, although nobody excluded them; None if there are none.

    A sentence without a full stop.
    """
    names = [
        f"{layer.name} ({type(layer).__name__})"
        for layer in left_whole(flat)
        if layer.name not in exclude_layers
    ]
    if not names:
        return None
    return f"pruning does not know how to cut these layers, and left them whole: {', '.join(names)}"


def widths_for(found: Sequence[Prunable], ratio: float) -> dict[Layers, int]:
    """Every group without the share `ratio` of its channels, where rounding lets it lose some.

    `found` has no `obstacle`. Raises NothingPruned where no group loses any.
    """
    widths = {group.layers: group.narrowed(ratio) for group in found}
    if any(widths[group.layers] < group.channels for group in found):
        return widths
    best = max(found, key=lambda group: group.channels - min(group.channels, group.multiple))
    rounding = f" and keeps a multiple of {best.multiple}" if best.multiple > 1 else ""
    # Rounded up: the ratio that the message suggests must really remove a channel.
    needed = math.ceil(1000 * _first_loss(best) / best.channels) / 1000
    raise NothingPruned(
        f"prune.ratio {ratio} removes no channel: the group of layers with most to lose "
        f"({', '.join(best.layers)}) has {best.channels} channels{rounding}",
        f"use at least --set prune.ratio={needed:g}, or a smaller prune.channel_multiple",
    )


def narrow(flat: keras.Model, widths: Widths, scores: Mapping[str, Scores]) -> keras.Model:
    """A smaller copy of a flat model: of every group in `widths` its strongest channels.

    Blocks go first, those that are gone already aside: what is left of a group has its width.
    """
    gone = removed(widths)
    rest = remove(flat, gone) if gone else flat
    lost = {name for layers in gone for name in layers}
    # Without an order: where a block went, layers beside it may come earlier than before.
    left = {frozenset(remaining(layers, lost)): width for layers, width in widths.items()}
    found = groups(rest)
    counts = [left.get(frozenset(each.layers), len(each.channels)) for each in found]
    return shrink(
        rest,
        [
            strongest(group_scores(group.channels, scores), count)
            for group, count in zip(found, counts, strict=True)
        ],
    )


def removed(widths: Widths) -> list[Layers]:
    """The blocks that go."""
    return [layers for layers, width in widths.items() if width == 0]


def remaining(layers: Layers, lost: Collection[str]) -> Layers:
    """`layers` without those that went with a block."""
    return tuple(name for name in layers if layer_of(name) not in lost)


def lost_layers(before: keras.Model, after: keras.Model) -> tuple[str, ...]:
    """Layers of `before` with a kernel that `after` does not have."""
    there = {layer.name for layer in after.layers}
    with_kernel = [x for x in before.layers if any(len(each.shape) > 1 for each in x.weights)]
    return tuple(layer.name for layer in with_kernel if layer.name not in there)


def compare_groups(before: keras.Model, after: keras.Model) -> tuple[PrunedGroup, ...]:
    """The layers of every group of `before`, and its width in both models: 0 if all are gone."""
    had, has = _output_channels(before), _output_channels(after)
    lost = had.keys() - has.keys()
    now = {frozenset(group.layers): len(group.channels) for group in groups(after)}
    rows = []
    for group in groups(before):
        wide = len(group.channels)
        layers, whole = remaining(group.layers, lost), _layer_within(group, had, lost)
        # From the layer itself: a grouped convolution that keeps one channel per group is a
        # depthwise one, and no group of `after` any more.
        left = (
            now.get(frozenset(layers), wide) if whole is None else wide * has[whole] // had[whole]
        )
        left = left if layers else 0
        rows.append(PrunedGroup(layers=group.layers, channels_before=wide, channels_after=left))
    return tuple(rows)


def _output_channels(flat: keras.Model) -> dict[str, int]:
    """By the name of what makes new channels."""
    makers = [call.operation for call in calls(flat) if type(call.operation) in PRODUCERS]
    kernels = (made for layer in makers for made in channel_kernels(layer).items())
    return {name: kernel.shape[axis] for name, (kernel, axis) in kernels}


def _layer_within(group: Group, channels: Mapping[str, int], lost: Collection[str]) -> str | None:
    """A layer that is not lost and all of whose output channels are in `group`, if it has one."""
    places = [name for channel in group.channels for name, _ in channel]
    there = remaining(group.layers, lost)
    return next((name for name in there if places.count(name) == channels[name]), None)


def _multiple(group: Group, channel_multiple: int) -> int:
    """In units of the group: a channel of it may be several of a layer (grouped convolution)."""
    names = [name for name, _ in group.channels[0]]
    each = max(map(names.count, names))
    return channel_multiple // math.gcd(channel_multiple, each)


def _first_loss(group: Prunable) -> int:
    """The fewest channels that the group can lose."""
    return group.channels - (group.channels - 1) // group.multiple * group.multiple


def _on_vectors(flat: keras.Model) -> set[str]:
    """The names of Dense layers that see one vector per image: (N, features)."""
    kinds = (keras.layers.Dense, keras.layers.EinsumDense)
    dense = [call for call in calls(flat) if isinstance(call.operation, kinds)]
    return {call.operation.name for call in dense if len(call.inputs[0].shape) == VECTOR_RANK}


def check_names(flat: keras.Model, exclude_layers: Collection[str]) -> None:
    """Raises ModelError for a name in `prune.exclude_layers` that no layer has."""
    known = [layer.name for layer in flat.layers]
    for name in exclude_layers:
        if name not in known:
            raise ModelError(
                f"prune.exclude_layers names {name!r}, but {flat.name!r} has no such layer"
                f"{suggestion(nearest(name, known))}",
                f"its layers: {', '.join(known)}",
            )
