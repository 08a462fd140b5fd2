"""How many channels each group loses where the whole network is to lose a share: prune.scope."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras
import numpy as np

from stages.keras_graph.channels import Group
from stages.keras_graph.group_costs import kernel_costs
from stages.numerics.allocation import Allocation
from stages.numerics.channel_scores import Scores, group_scores
from stages.pruning.structured import Prunable, Widths

FLOOR = 0.25
"""Share of the width that the same ratio of every group would leave: no group gets narrower."""


def widths_across(
    flat: keras.Model,
    found: Sequence[Prunable],
    ratios: Sequence[float],
    scores: Mapping[str, Scores],
) -> list[Widths]:
    """For each of the rising `ratios` widths of the groups `found`, narrower from one to the next.

    They cost as many multiply-adds as that share of every group would leave, or just fewer.
    Channels go where they matter least for the multiply-adds that they save. Their scores compare:
    norms are on average 1 in every layer, and those of `taylor` are changes of the loss (Molchanov
    et al., "Importance Estimation for Neural Network Pruning", 2019, section 3).
    """
    groups, costs = kernel_costs(flat)
    free = {group.layers: group for group in found}

    def cost(ratio: float) -> float:
        even = {each.layers: each.narrowed(ratio) for each in found}
        left = [even.get(each.layers, len(each.channels)) / len(each.channels) for each in groups]
        return costs.total(np.array(left))

    allocation = Allocation(
        costs,
        [group_scores(group.channels, scores) for group in groups],
        [_steps(group, free.get(group.layers), ratios[-1]) for group in groups],
    )
    names = [group.layers for group in groups]
    found_widths = [dict(zip(names, allocation.within(cost(each)), strict=True)) for each in ratios]
    return [{layers: widths[layers] for layers in free} for widths in found_widths]


def _steps(group: Group, prunable: Prunable | None, ratio: float) -> tuple[int, ...]:
    """The widths that a group may have, from all of its channels down."""
    channels = len(group.channels)
    if prunable is None:
        return (channels,)
    even = prunable.narrowed(ratio)
    narrower = range(prunable.multiple, channels, prunable.multiple)
    return (channels, *(width for width in reversed(narrower) if width >= FLOOR * even))
