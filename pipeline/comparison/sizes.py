"""Sizes and parameters of two runs: counted, so that every difference is certain."""

from __future__ import annotations

from typing import Any

from pipeline.comparison.latency import CHOSEN
from pipeline.results import comparability
from pipeline.results.summary import Summary

KINDS = ("parameters", "multiply_adds", "size_bytes")

ENGINE_STAGES = ("convert", "build", "benchmark")
"""Stages whose own numbers are those of one of many graphs or engines."""


def compare(before: Summary, after: Summary) -> list[dict[str, Any]]:
    """One entry per number that both runs have: what, kind, before, after, ratio after / before.

    Kinds are `parameters`, `multiply_adds` (for one image) and `size_bytes` (of a file).
    """
    old, new = _models(before), _models(after)
    return [
        {
            "what": name,
            "kind": kind,
            "before": model[kind],
            "after": new[name][kind],
            "ratio": comparability.ratio(new[name][kind], model[kind]),
        }
        for name, model in old.items()
        for kind in KINDS
        if name in new and kind in model and kind in new[name]
    ]


def _models(run: Summary) -> dict[str, dict[str, Any]]:
    """The models of the stages, and the engines."""
    stages = {name: run["stages"][name] for name in run["stages"] if name not in ENGINE_STAGES}
    chosen = {CHOSEN: run["engines"][run["engine"]]} if run["engine"] in run["engines"] else {}
    return {**stages, **run["engines"], **chosen}
