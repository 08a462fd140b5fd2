"""What a record says of pruning must fit the model that it describes."""

from __future__ import annotations

from collections.abc import Collection

from stages.errors import ModelError
from stages.keras_graph.producers import layer_of
from stages.pruning.structured import Widths, removed
from stages.results.pruning import PruneDetails

BUG = "nothing is written; this is a mistake in the pipeline: please report it"


def check(details: PruneDetails, widths: Widths, lost: Collection[str] = ()) -> None:
    """Whether the model has the `widths` that were decided; groups not in them lose nothing.

    `lost` are the layers with a kernel that it no longer has. Raises ModelError where they are
    not those of the blocks to remove, for a group that is wider or narrower, for parameters that
    contradict the widths or the last round, and where a round ran that changed nothing.
    """
    blocks = {name for layers in removed(widths) for name in layers}
    if blocks != set(lost) or set(details.removed_blocks) != set(removed(widths)):
        raise ModelError(
            f"the model has lost the layers {_listed(lost)} and records the blocks "
            f"{details.removed_blocks}, expected it to lose {_listed(blocks)}",
            BUG,
        )
    for group in details.groups:
        is_gone = set(map(layer_of, group.layers)) <= blocks
        decided = 0 if is_gone else widths.get(group.layers, group.channels_before)
        if group.channels_after != decided:
            raise ModelError(
                f"the group of layers {', '.join(group.layers)} has {group.channels_after} of "
                f"{group.channels_before} channels after pruning, expected {decided}",
                BUG,
            )
    kept = [each for each in details.rounds if each.is_kept]
    if not kept:
        return
    before, after = details.parameters_before or 0, details.parameters_after or 0
    if kept[-1].parameters != after:
        raise ModelError(
            f"the pruned model has {after} parameters, its last round recorded "
            f"{kept[-1].parameters}",
            BUG,
        )
    if _is_smaller(details) and after >= before:
        raise ModelError(
            f"layers lost channels, but the model has {after} parameters, {before} before", BUG
        )
    check_changed(details)


def check_changed(details: PruneDetails) -> None:
    """Raises ModelError for a result that has all channels and weights of its input."""
    if details.size is not None and details.size.zero_share == 0:
        raise ModelError(
            f"prune.method {details.method!r} made no weight zero", "use a larger prune.ratio"
        )
    if details.size is None and not _is_smaller(details):
        raise ModelError(
            "pruning removed no channel, although a smaller network was asked for", BUG
        )


def _is_smaller(details: PruneDetails) -> bool:
    narrower = [group.channels_after < group.channels_before for group in details.groups]
    return any(narrower) or bool(details.removed_blocks)


def _listed(names: Collection[str]) -> str:
    return ", ".join(sorted(names)) or "none"
