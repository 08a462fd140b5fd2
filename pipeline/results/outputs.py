"""Of a network with several outputs a report of each, as if the network had that output alone.

What tells of answers is written for one output, and is given these.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from pipeline.results.model import Baseline, EngineReport, Report, StageReport
from stages.results.base import Details, Quality
from stages.results.engines import BenchmarkDetails, OutputDetails

Model = TypeVar("Model", StageReport, Baseline, EngineReport)


def each(report: Report) -> Iterator[tuple[str, Report]]:
    """Name and report of every output, in the order of the network; of one output nothing."""
    for name in _names(report):
        yield name, _of(report, name)


def _names(report: Report) -> tuple[str, ...]:
    models: tuple[StageReport | Baseline | EngineReport, ...]
    models = (*report.stages, report.baseline, *report.engines)
    return next((tuple(found) for model in models if (found := model.accuracy.outputs)), ())


def _of(report: Report, name: str) -> Report:
    stages = (_judged_by(stage, name) for stage in report.stages)
    return report.model_copy(
        update={
            "stages": tuple(
                stage.model_copy(update={"details": _details(stage.details, name)})
                for stage in stages
            ),
            "baseline": _judged_by(report.baseline, name),
            "engines": tuple(_judged_by(engine, name) for engine in report.engines),
        }
    )


def _judged_by(model: Model, name: str) -> Model:
    quality = (model.accuracy.outputs or {}).get(name, Quality())
    return model.model_copy(update={"accuracy": quality})


def _details(details: Details, name: str) -> Details:
    if not isinstance(details, BenchmarkDetails):
        return details
    own = details.outputs.get(name, OutputDetails())
    return details.model_copy(update={**dict(own), "differences": (), "outputs": {}})
