"""The test images that engines classify differently from the trained model.

changed.npz     some of those of the chosen engine, for people to look at:
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


def count(labels: Classes, before: Classes, after: Classes, engine: str) -> PredictionDiff:
    """Count the changes from predictions `before` to those of `engine`, `after`, all int64 (N,).

    lost      right before, wrong after
    won       wrong before, right after
    other     wrong both times, in different ways
    """
    kinds = _kinds(labels, before, after)
    return PredictionDiff(engine=engine, **{name: int(kind.sum()) for name, kind in kinds.items()})


def _kinds(labels: Classes, before: Classes, after: Classes) -> dict[str, NDArray[np.bool_]]:
    changed = before != after
    return {
        "lost": changed & (before == labels),
        "won": changed & (after == labels),
        "other": changed & (before != labels) & (after != labels),
    }


def keep_images(test: Split, before: Classes, after: Classes, out: Path) -> None:
    """Write the first images of every kind of change to `out`, lost ones first.

    before, after: predictions int64 (N,) of the trained model and of an engine for the test images.
    No file is written where nothing changed.
    """
    kinds = _kinds(test.labels, before, after).values()
    shown = np.concatenate([np.flatnonzero(kind)[:MOST_IMAGES] for kind in kinds])
    if len(shown):
        np.savez_compressed(
            out / FILE,
            images=test.images[shown],
            indices=shown,
            labels=test.labels[shown],
            before=before[shown],
            after=after[shown],
        )
