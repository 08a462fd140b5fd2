"""Accuracy of the models and engines of two runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.comparison.model import (
    CHOSEN,
    AccuracyDifference,
    PairedAccuracyDifference,
    Top1,
)
from pipeline.comparison.runs import IMAGES, LABELS, Run
from pipeline.results.summary import BASELINE, EngineSummary, ModelSummary
from stages.numerics import proportions
from stages.numerics.proportions import Interval

STAGES = ("train", "prune", "quantize")
"""Stages whose accuracy is that of a model on the test images."""

Measurement = ModelSummary | EngineSummary
Classes = NDArray[Any]
"""Class of each test image, int (N,)."""


def compare(before: Run, after: Run) -> list[AccuracyDifference]:
    """One entry per model or engine whose accuracy both runs measured.

    Paired where the predictions of both runs are known, of the very same test images.
    """
    return [
        _paired(what, *classes)
        if (classes := _classes(before, after, what))
        else _unpaired(what, a, b)
        for what, old, new in pairs(before, after)
        if (a := _top1(old)) and (b := _top1(new))
    ]


def pairs(before: Run, after: Run) -> Iterator[tuple[str, Measurement, Measurement]]:
    """What is compared: its name, and what both runs measured of it."""
    a, b = before.summary, after.summary
    for stage in STAGES:
        yield stage, a.stage(stage), b.stage(stage)
    if a.engine and b.engine and a.engine != b.engine:
        yield CHOSEN, a.chosen or EngineSummary(), b.chosen or EngineSummary()
    for name, engine in a.engines.items():
        if name != BASELINE:
            yield name, engine, b.engines.get(name, EngineSummary())


def _classes(before: Run, after: Run, what: str) -> tuple[Classes, Classes, Classes] | None:
    """The labels, and what both engines predicted, if they were shown the same images."""
    a, b = before.predictions, after.predictions
    old, new = ((run.summary.engine or "") if what == CHOSEN else what for run in (before, after))
    if LABELS not in a or LABELS not in b or old not in a or new not in b:
        return None
    # Runs of an earlier version kept no digest of the images: there the labels have to do.
    shown = [LABELS, *((IMAGES,) if IMAGES in a and IMAGES in b else ())]
    is_same = all(np.array_equal(a[name], b[name]) for name in shown)
    return (a[LABELS], a[old], b[new]) if is_same else None


def _top1(measured: Measurement) -> Top1 | None:
    if measured.top1 is None or not measured.samples:
        return None
    return Top1(top1=measured.top1, samples=measured.samples)


def _unpaired(what: str, before: Top1, after: Top1) -> AccuracyDifference:
    old, new = (round(each.top1 * each.samples) for each in (before, after))
    change = proportions.change(old, before.samples, new, after.samples)
    return AccuracyDifference(what=what, before=before, after=after, **_points(change))


def _paired(what: str, labels: Classes, old: Classes, new: Classes) -> PairedAccuracyDifference:
    was, now = old == labels, new == labels
    both, neither = int(np.sum(was & now)), int(np.sum(~was & ~now))
    lost, won = int(np.sum(was & ~now)), int(np.sum(~was & now))
    return PairedAccuracyDifference(
        what=what,
        before=Top1(top1=float(np.mean(was)), samples=len(labels)),
        after=Top1(top1=float(np.mean(now)), samples=len(labels)),
        **_points(proportions.paired_change(both, lost, won, neither)),
        only_before=lost,
        only_after=won,
        p=proportions.mcnemar(lost, won),
    )


def _points(change: Interval) -> dict[str, Any]:
    return {
        "points": 100 * change.estimate,
        "low": 100 * change.low,
        "high": 100 * change.high,
        "is_different": change.excludes(0.0),
    }
