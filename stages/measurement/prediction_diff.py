"""Which test images the chosen engine names otherwise than the trained model.

changed.npz     some of those images, for people to look at:
                    images   uint8 (M, H, W, C)
                    indices  int64 (M,)   places in the test split
                    labels   int64 (M,)   what they show
                    before   int64 (M,)   what the trained model says
                    after    int64 (M,)   what the engine says
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.datasets import Split

FILE = "changed.npz"
MOST_IMAGES = 12
"""Of each kind."""

Classes = NDArray[np.int64]


def write(test: Split, before: Classes, after: Classes, out: Path) -> dict[str, int]:
    """Count the changes, and write the first of every kind to `out`, those that were lost first.

    before, after: named classes (N,) of the test images. Returns how many images were

    lost      right before, wrong after
    won       wrong before, right after
    other     wrong both times, in different ways

    No file is written where nothing changed.
    """
    changed = before != after
    kinds = {
        "lost": changed & (before == test.labels),
        "won": changed & (after == test.labels),
        "other": changed & (before != test.labels) & (after != test.labels),
    }
    shown = np.concatenate([np.flatnonzero(kind)[:MOST_IMAGES] for kind in kinds.values()])
    if len(shown):
        np.savez_compressed(
            out / FILE,
            images=test.images[shown],
            indices=shown,
            labels=test.labels[shown],
            before=before[shown],
            after=after[shown],
        )
    return {name: int(kind.sum()) for name, kind in kinds.items()}


def describe(
    test: Split, named: dict[str, Classes | None], baseline: str, chosen: str | None, out: Path
) -> dict[str, Any]:
    """`write` for the engine `chosen` against `baseline`, of classes by engine name.

    {} where one of the two has named nothing.
    """
    before, after = named.get(baseline), named.get(chosen or "")
    if before is None or after is None:
        return {}
    return {"changed": {"engine": chosen, **write(test, before, after, out)}}
