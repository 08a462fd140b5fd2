"""The test images that engines answer differently from the trained model.

changed.npz     some of those of the chosen engine, for people to look at, where answers are classes
                of images:
                    images   uint8 (M, H, W, C)   of several inputs those of one: shown_images.py
                    indices  int64 (M,)   places in the test split
                    labels   int64 (M,)   their true classes
                    before   int64 (M,)   predictions of the trained model
                    after    int64 (M,)   predictions of the engine

Of several outputs every one of classes has them, as "OUTPUT/images" and so on.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.artifacts import archives
from stages.datasets.base import Split
from stages.measurement import shown_images
from stages.results.engines import PredictionDiff, ShownImages
from stages.tasks import base as tasks
from stages.tasks.base import Answers

FILE = "changed.npz"
MOST_IMAGES = 12
"""Of each kind."""


def count(before: Answers, after: Answers, engine: str) -> PredictionDiff:
    """Count the changes from answers `before` to those of `engine`, `after`, for the same images.

    lost      right before, wrong after: or more wrong by more than the task tolerates
    won       wrong before, right after: or less wrong
    other     wrong both times, in different ways

    Where no counts give it, the change of the task's metric has an interval by itself.
    """
    kinds = _kinds(before, after)
    change = before.change_to(after)
    return PredictionDiff(
        engine=engine,
        **{name: int(kind.sum()) for name, kind in kinds.items()},
        change_low=None if change is None else change.low,
        change_high=None if change is None else change.high,
    )


def _kinds(before: Answers, after: Answers) -> dict[str, NDArray[np.bool_]]:
    tolerance = tasks.of(before.task).TOLERANCE
    lost = after.errors > before.errors + tolerance
    won = before.errors > after.errors + tolerance
    if before.decisions is None or after.decisions is None:
        other = np.zeros_like(lost)
    else:
        other = (before.decisions != after.decisions) & ~lost & ~won
    return {"lost": lost, "won": won, "other": other}


def changed_images(
    test: Split, before: Answers, after: Answers, shown: ShownImages
) -> dict[str, NDArray[Any]]:
    """The first images of every kind of change, lost ones first, as changed.npz has them.

    before, after: answers of the trained model and of an engine for the test images. {} where
    nothing changed, where answers are no classes, or where there is a reason to show none.
    """
    if before.decisions is None or after.decisions is None or shown.reason:
        return {}
    kinds = _kinds(before, after).values()
    places = np.concatenate([np.flatnonzero(kind)[:MOST_IMAGES] for kind in kinds])
    if not len(places):
        return {}
    return {
        "images": shown_images.pixels(test.images[places], shown),
        "indices": places,
        "labels": test.labels[places],
        "before": before.decisions[places],
        "after": after.decisions[places],
    }


def write(out: Path, changed: Mapping[str, Mapping[str, NDArray[Any]]]) -> None:
    """Write changed.npz into `out`, by output, "" of the only one; none where nothing changed."""
    arrays = archives.of_outputs(changed)
    if arrays:
        np.savez_compressed(out / FILE, **arrays)  # type: ignore[arg-type]
