"""Sizes and parameters of two runs: counted, so that every difference is certain."""

from __future__ import annotations

from typing import get_args

from pipeline.comparison.model import CHOSEN, Kind, SizeDifference
from pipeline.results import comparability
from pipeline.results.summary import Summary

ENGINE_STAGES = ("convert", "build", "benchmark")
"""Stages whose own numbers are those of one of many graphs or engines."""


def compare(before: Summary, after: Summary) -> list[SizeDifference]:
    """One entry per number that both runs have."""
    old, new = _counts(before), _counts(after)
    return [
        SizeDifference(
            what=what,
            kind=kind,
            before=count,
            after=new[what, kind],
            ratio=comparability.ratio(new[what, kind], count),
        )
        for (what, kind), count in old.items()
        if (what, kind) in new
    ]


def _counts(run: Summary) -> dict[tuple[str, Kind], int]:
    """What the models of the stages and the engines have, the chosen one last."""
    stages = {name: model for name, model in run.stages.items() if name not in ENGINE_STAGES}
    chosen = {CHOSEN: run.chosen} if run.chosen else {}
    return {
        (name, kind): count
        for name, model in {**stages, **run.engines, **chosen}.items()
        for kind in get_args(Kind)
        if (count := dict(model).get(kind)) is not None
    }
