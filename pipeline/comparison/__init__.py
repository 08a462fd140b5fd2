"""Two runs side by side, and how certain each difference between them is.

a word of the command line -> runs.find -> Run
two Runs -> compare -> latency    bootstrap over windows, checked against unchanged files
                       accuracy   intervals of shares, paired where both ran the same images
                       scores     of other tasks than classification, without an interval
                       sizes      counted
                       causes     settings, versions and conditions that differ
         -> Comparison -> drawing: terminal | Markdown | JSON
"""

from __future__ import annotations

from pipeline.comparison import accuracy, causes, describe, latency, scores, sizes
from pipeline.comparison.drawing import render, table
from pipeline.comparison.model import Comparison, RunFacts
from pipeline.comparison.runs import Run, find

__all__ = ["Comparison", "Run", "compare", "find", "render", "table"]


def compare(before: Run, after: Run) -> Comparison:
    """How `after`, B, differs from `before`, A."""
    a, b = before.summary, after.summary
    compared = Comparison(
        runs=(RunFacts.of(before.name, a), RunFacts.of(after.name, b)),
        accuracy=tuple(accuracy.compare(before, after)),
        scores=tuple(scores.compare(before, after)),
        latency=tuple(latency.compare(a, b)),
        sizes=tuple(sizes.compare(a, b)),
        settings=causes.differing(a.settings, b.settings),
        versions=causes.differing(a.environment.model_dump(), b.environment.model_dump()),
        conditions=causes.differing(a.conditions.model_dump(), b.conditions.model_dump()),
        warnings=tuple(causes.warnings(before, after)),
    )
    return compared.model_copy(update={"verdict": tuple(describe.verdict(compared))})
