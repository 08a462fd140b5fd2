"""Whole blocks that may go, as candidates beside narrower groups of channels."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import keras

from stages.keras_graph.blocks import Block, find_blocks
from stages.keras_graph.channels import Group, Trace, groups
from stages.pruning.structured import Layers, remaining


@dataclass(frozen=True)
class Removable:
    """A block with `channels` at its end; groups in `whole` must have all of theirs when it goes.

    Those are the groups before and behind a layer whose input has other channels than its output:
    once they lost different ones, neither can stand in for the other.
    """

    layers: Layers
    channels: int
    whole: frozenset[Layers] = frozenset()


def removable(flat: keras.Model, exclude_layers: Collection[str] = ()) -> list[Removable]:
    """The blocks of a flat model that may go, together or alone, and take no excluded layer along.

    A block is left out whose removal would change what must be pruned together in the rest.
    """
    stay = set(exclude_layers)
    found = [block for block in find_blocks(flat) if not stay & {*block.layers, *block.others}]
    before, ends = groups(flat), _Ends(flat)
    accepted: list[Block] = []
    # All at once where that is possible, as it mostly is.
    for more in [found, *([block] for block in found)]:
        together = [*accepted, *more]
        rest = Trace(flat, {id(block.end): block.start for block in together})
        lost = {name for block in together for name in block.layers}
        if _is_untouched(before, rest.groups(), lost):
            accepted = together
        if len(accepted) == len(found):
            break
    return [
        Removable(
            block.layers,
            block.end.shape[-1],
            frozenset(ends.at(block.start) ^ ends.at(block.end)),
        )
        for block in accepted
    ]


def _is_untouched(before: Sequence[Group], after: Sequence[Group], lost: Collection[str]) -> bool:
    """Whether every group is there as before, but for the layers that are lost."""
    there = {frozenset(group.layers): len(group.channels) for group in after}
    left = [(frozenset(remaining(each.layers, lost)), len(each.channels)) for each in before]
    kept = [(layers, channels) for layers, channels in left if layers]
    is_same = all(there.get(layers) == channels for layers, channels in kept)
    return is_same and len({layers for layers, _ in kept}) == len(kept)


class _Ends:
    """The groups whose channels a tensor of a flat model has."""

    def __init__(self, flat: keras.Model) -> None:
        self._trace = Trace(flat)
        self._owner: dict[int, Layers] = {}
        for group in self._trace.groups():
            for (name, position), *_ in group.channels:
                root = self._trace.roots[self._trace.produced[name][position]]
                self._owner[int(root)] = group.layers

    def at(self, tensor: object) -> set[Layers]:
        roots = self._trace.roots[self._trace.of[id(tensor)]].tolist()
        return {self._owner[root] for root in roots if root in self._owner}
