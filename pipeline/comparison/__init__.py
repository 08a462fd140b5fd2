"""Two runs side by side, and how certain each difference between them is.

a word of the command line -> runs.find -> Run
two Runs -> compare -> latency    bootstrap over windows, checked against unchanged files
                       accuracy   intervals of shares, paired where both ran the same images
                       causes     settings, versions and conditions that differ
         -> drawing: terminal | Markdown | JSON
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.comparison import accuracy, causes, latency, sizes
from pipeline.comparison.describe import verdict
from pipeline.comparison.drawing import render, table
from pipeline.comparison.runs import Run, find

__all__ = ["Run", "compare", "find", "render", "table"]

SCHEMA_VERSION = 1


def compare(before: Run, after: Run) -> dict[str, Any]:
    """What `pipeline compare --format json` prints: plain values, nothing of the runs is changed.

    runs         name, time and chosen engine of both
    verdict      the difference of their chosen engines, in words
    warnings     what makes the runs less comparable than they look
    latency      see latency.compare     accuracy  see accuracy.compare
    sizes        see sizes.compare
    settings, versions, conditions       name -> [before, after], where the two differ
    """
    found: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "runs": [_about(run) for run in (before, after)],
        "accuracy": accuracy.compare(before, after),
        "latency": latency.compare(before, after),
        "sizes": sizes.compare(before.summary, after.summary),
        **causes.differences(before.summary, after.summary),
    }
    found["warnings"] = causes.warnings(before, after)
    return {**found, "verdict": verdict(found)}


def _about(run: Run) -> Mapping[str, Any]:
    keys = ("time", "dataset", "model", "engine", "batch_size")
    return {"name": run.name, **{key: run.summary[key] for key in keys}}
