"""The metric of two runs of another task than classification, without an interval.

Its intervals are bootstraps over the outputs for each image, which no run keeps.
"""

from __future__ import annotations

from pipeline.comparison.accuracy import pairs
from pipeline.comparison.model import ScoreDifference
from pipeline.comparison.runs import Run


def compare(before: Run, after: Run) -> list[ScoreDifference]:
    """One entry per model or engine whose score by one metric both runs measured."""
    return [
        ScoreDifference(
            what=what,
            metric=old.metric,
            before=old.score,
            after=new.score,
            samples=new.samples,
            points=100 * (new.score - old.score),
        )
        for what, old, new in pairs(before, after)
        if old.metric and old.metric == new.metric
        if old.score is not None and new.score is not None
    ]
