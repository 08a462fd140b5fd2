"""Which way a network is pruned, and which settings that way reads.

`pipeline search` gives trials that differ in what nothing reads the same settings, and so the same
artifacts.
"""

from __future__ import annotations

from typing import Literal

from stages.settings import Prune, Training

Way = Literal["unpruned", "widths", "target", "ratio", "2:4", "magnitude"]

UNPRUNED = {
    "ratio": 0.0, "widths": {}, "target_latency_ratio": None, "max_accuracy_drop": None,
}  # fmt: skip
"""Settings with which the network stays as it was trained, whatever the others are."""

DECIDES = {*UNPRUNED, "method"}
ROUNDS = {"rounds", "round_epochs"}
READ: dict[Way, set[str]] = {
    "unpruned": set(),
    "widths": {"criterion", "exclude_layers", "rounds"},
    "target": {
        "criterion", "channel_multiple", "exclude_layers", "target", "target_batch_size", "depth",
        *ROUNDS,
    },
    "ratio": {"layers", "criterion", "channel_multiple", "exclude_layers", "scope", *ROUNDS},
    "2:4": {"exclude_layers"},
    "magnitude": {"exclude_layers", "scope", "block", *ROUNDS},
}  # fmt: skip
"""Besides those that decide the way, and those of the fine-tune. With widths `rounds` has one value
that is valid, so that it cannot be as elsewhere."""


def way_of(prune: Prune) -> Way:
    """What outweighs what: widths, then a target, then a ratio of 0, then the method."""
    if prune.widths:
        return "widths"
    if prune.target_latency_ratio is not None or prune.max_accuracy_drop is not None:
        return "target"
    if prune.ratio == 0:
        return "unpruned"
    return "ratio" if prune.method == "channels" else prune.method


def unread(prune: Prune) -> set[str]:
    """The settings whose values change nothing, as the others are.

    With `2:4` the ratio, as long as it is above 0. Of an unpruned network all but what leaves it
    so: there even the method and the fine-tune.
    """
    way, everything = way_of(prune), set(Prune.model_fields)
    if way == "unpruned":
        return everything - UNPRUNED.keys()
    read = DECIDES | READ[way] | set(Training.model_fields)
    read |= {"distillation", "temperature", "map_distillation", "precision"}
    if way in ("widths", "target", "2:4"):
        read -= {"ratio"}
    # With a budget of accuracy any round may be the last, and has all epochs.
    if prune.max_accuracy_drop is not None:
        read -= ROUNDS
    elif prune.rounds == 1:
        read -= {"round_epochs"}
    return everything - read
