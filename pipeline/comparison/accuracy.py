"""Accuracy of the models and engines of two runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from pipeline.comparison.latency import CHOSEN
from pipeline.comparison.runs import LABELS, Arrays, Run
from pipeline.results.summary import BASELINE
from stages.numerics import proportions
from stages.numerics.proportions import Interval

Entry = dict[str, Any]

STAGES = ("train", "prune", "quantize")
"""Stages whose accuracy is that of a model on the test images."""


def compare(before: Run, after: Run) -> list[Entry]:
    """One entry per model or engine whose accuracy both runs measured.

    what                       stage or engine; "the chosen engine" where they chose two
    before, after              {"top1": share, "samples": images}
    points, low, high          after - before in percentage points, with its 95 % interval
    is_different               whether the interval excludes 0
    method                     "paired" where both answered the very same images, else "unpaired"
    only_before, only_after    paired: images that only one of the two got right
    p                          paired: McNemar's mid-p
    """
    return [
        {**_known(what, old, new), **_change(old, new, answers)}
        for what, old, new, answers in _pairs(before, after)
        if old.get("samples") and new.get("samples")
    ]


Pair = tuple[str, Mapping[str, Any], Mapping[str, Any], "tuple[Any, Any, Any] | None"]


def _pairs(before: Run, after: Run) -> Iterator[Pair]:
    old, new = before.summary, after.summary
    for name in STAGES:
        yield name, old["stages"].get(name, {}), new["stages"].get(name, {}), None
    if old["engine"] and new["engine"] and old["engine"] != new["engine"]:
        yield _engines(CHOSEN, before, after, old["engine"], new["engine"])
    for name in old["engines"]:
        if name != BASELINE:
            yield _engines(name, before, after, name, name)


def _engines(what: str, before: Run, after: Run, old: str, new: str) -> Pair:
    engines = before.summary["engines"].get(old, {}), after.summary["engines"].get(new, {})
    return what, *engines, _answers(before.predictions, after.predictions, old, new)


def _answers(before: Arrays, after: Arrays, old: str, new: str) -> tuple[Any, Any, Any] | None:
    """The labels and what both engines named, if they were shown the same images."""
    if LABELS not in before or LABELS not in after or old not in before or new not in after:
        return None
    is_same = np.array_equal(before[LABELS], after[LABELS])
    return (before[LABELS], before[old], after[new]) if is_same else None


def _known(what: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Entry:
    keys = ("top1", "samples")
    return {
        "what": what,
        **{n: {k: e[k] for k in keys} for n, e in (("before", old), ("after", new))},
    }


def _change(
    old: Mapping[str, Any], new: Mapping[str, Any], answers: tuple[Any, Any, Any] | None
) -> Entry:
    if answers is not None:
        return _paired(*answers)
    hits = [round(each["top1"] * each["samples"]) for each in (old, new)]
    found = proportions.change(hits[0], old["samples"], hits[1], new["samples"])
    return {**_points(found), "method": "unpaired"}


def _paired(labels: Any, old: Any, new: Any) -> Entry:
    was, now = old == labels, new == labels
    both, neither = int(np.sum(was & now)), int(np.sum(~was & ~now))
    lost, won = int(np.sum(was & ~now)), int(np.sum(~was & now))
    return {
        **_points(proportions.paired_change(both, lost, won, neither)),
        "method": "paired",
        "only_before": lost,
        "only_after": won,
        "p": proportions.mcnemar(lost, won),
    }


def _points(found: Interval) -> Entry:
    return {
        "points": 100 * found.estimate,
        "low": 100 * found.low,
        "high": 100 * found.high,
        "is_different": found.excludes(0.0),
    }
