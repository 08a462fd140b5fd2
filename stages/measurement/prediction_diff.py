"""The test images that the chosen engine classifies differently from the trained model.

changed.npz     some of those images, for people to look at:
                    images   uint8 (M, H, W, C)
                    indices  int64 (M,)   places in the test split
                    labels   int64 (M,)   their true classes
                    before   int64 (M,)   predictions of the trained model
                    after    int64 (M,)   predictions of the engine
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.datasets.base import Split
from stages.results.engines import PredictionDiff

FILE = "changed.npz"
MOST_IMAGES = 12
"""Of each kind."""

Classes = NDArray[np.int64]


def compare(test: Split, before: Classes, after: Classes, engine: str, out: Path) -> PredictionDiff:
    """Count the changes, and write the first of every kind to `out`, lost ones first.

    before, after: predictions int64 (N,) of the trained model and of `engine` for the test images.

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
    counts = {name: int(kind.sum()) for name, kind in kinds.items()}
    return PredictionDiff(engine=engine, **counts)
