"""A run in a few hundred words: what the history keeps and what two runs are compared by.

    run         when its last stage began, the data set, the model, the engine it chose
    stages      of each stage's model: accuracy, size, parameters
    engines     of each engine that ran, and of the baseline: accuracy, size, latency
    settings, environment, conditions     what can explain a difference

What was made from older files than those recorded now is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field

from pipeline.core.hashing import key_of
from pipeline.results import comparability
from pipeline.results.model import Baseline, EngineReport, Report, StageReport, network_of
from stages.results.base import Amount, Count, Measured, Quality, Share
from stages.results.engines import BenchmarkDetails, MachineState
from stages.results.machine import MachineFacts
from stages.tasks.registry import MAIN, mean_over

BASELINE = "baseline"
"""The trained, unpruned float32 model in ONNX Runtime, among the engines."""


class TimedRow(Measured):
    """One latency of an engine, as in stages.results.base.LatencyRow."""

    batch_size: Count
    threads: Count | None = None
    samples: Count | None = None
    p50_ms: Annotated[float, Field(gt=0)]
    p50_low_ms: Amount | None = None
    p50_high_ms: Amount | None = None
    window_p50_ms: tuple[float, ...] | None = None
    stable: bool | None = None
    images_per_second: Amount | None = None


class ModelSummary(Measured):
    """A stage's model; of another task than classification its `score` instead of top1."""

    top1: Share | None = None
    metric: str | None = None
    score: float | None = None
    samples: Count | None = None
    parameters: Count | None = None
    multiply_adds: Count | None = None
    size_bytes: Count | None = None


class EngineSummary(Measured):
    """An engine that ran, or the baseline; scored as a stage's model."""

    top1: Share | None = None
    metric: str | None = None
    score: float | None = None
    samples: Count | None = None
    sha256: str | None = None
    size_bytes: Count | None = None
    measured_in: str | None = None
    latency: tuple[TimedRow, ...] = ()


class GateSummary(Measured):
    """A quality gate and how it was judged."""

    gate: str
    state: str


class Summary(Measured):
    """A run; `engine` is the one that it stands for, at `batch_size`."""

    time: str | None = None
    dataset: str | None = None
    model: str | None = None
    engine: str | None = None
    batch_size: Count | None = None
    stages: dict[str, ModelSummary]
    engines: dict[str, EngineSummary]
    settings: dict[str, Any]
    settings_hash: str | None = None
    environment: MachineFacts
    conditions: MachineState
    gates: tuple[GateSummary, ...] = Field(default=())

    @property
    def chosen(self) -> EngineSummary | None:
        """The engine that the run stands for, None if none ran."""
        return self.engines.get(self.engine) if self.engine else None

    @property
    def chosen_row(self) -> TimedRow | None:
        """Its fastest row at the smallest batch."""
        rows = self.chosen.latency if self.chosen else ()
        timed = [row for row in rows if row.batch_size == self.batch_size]
        return min(timed, key=lambda row: row.p50_ms, default=None)

    def stage(self, name: str) -> ModelSummary:
        """The model of a stage; of one that has no record nothing is known."""
        return self.stages.get(name, ModelSummary())


def summarize(report: Report) -> Summary:
    """The summary of a report; whatever was not measured is None or left out."""
    stages = [stage for stage in report.stages if not stage.outdated]
    benchmark = report.stage("benchmark")
    is_outdated = benchmark is not None and benchmark.outdated
    settings = {name: part for stage in stages for name, part in stage.settings.items()}
    chosen = None if is_outdated else comparability.chosen_engine(report)
    measured = report.details(BenchmarkDetails)
    return Summary(
        time=max((stage.started_at or "" for stage in report.stages), default="") or None,
        dataset=report.dataset.name,
        model=network_of(settings),
        engine=str(chosen[0].name) if chosen else None,
        batch_size=chosen[1].batch_size if chosen else None,
        stages={stage.stage: _stage(stage) for stage in stages},
        engines={} if is_outdated else dict(_engines(report)),
        settings=settings,
        settings_hash=key_of(settings)[:8],
        environment=benchmark.environment if benchmark else report.environment,
        conditions=(measured and measured.conditions) or MachineState(),
        gates=tuple(GateSummary(gate=each.gate, state=each.state) for each in report.gates),
    )


def unfinished(settings: dict[str, Any], environment: Mapping[str, Any]) -> Summary:
    """The summary of a run with these settings that came to no result."""
    return Summary(
        dataset=settings.get("data", {}).get("name"),
        model=network_of(settings),
        stages={},
        engines={},
        settings=settings,
        settings_hash=key_of(settings)[:8],
        environment=MachineFacts.model_validate(environment),
        conditions=MachineState(),
    )


def _stage(stage: StageReport) -> ModelSummary:
    return ModelSummary(
        **_accuracy(stage.accuracy),
        samples=stage.accuracy.samples,
        parameters=stage.model.parameters,
        multiply_adds=stage.model.multiply_adds,
        size_bytes=stage.model.size_bytes,
    )


def _accuracy(accuracy: Quality) -> dict[str, Any]:
    if accuracy.is_counted:
        return {"top1": accuracy.top1}
    return {"metric": _told_apart(accuracy), "score": accuracy.score}


def _told_apart(accuracy: Quality) -> str | None:
    """The key of the metric; of a mean one that says over which outputs, as other runs may have
    others."""
    if accuracy.metric != MAIN["several"] or not accuracy.outputs:
        return accuracy.metric
    judged = {name: each for name, each in accuracy.outputs.items() if each.score is not None}
    return mean_over({name: each.words for name, each in judged.items()})


def _engines(report: Report) -> Iterator[tuple[str, EngineSummary]]:
    if report.baseline.latency:
        yield BASELINE, _engine(report.baseline, "benchmark")
    for engine in comparability.ran(report):
        yield str(engine.name), _engine(engine, engine.measured_in)


def _engine(engine: Baseline | EngineReport, measured_in: str) -> EngineSummary:
    return EngineSummary(
        **_accuracy(engine.accuracy),
        samples=engine.accuracy.samples,
        sha256=engine.sha256,
        size_bytes=engine.size_bytes,
        measured_in=measured_in,
        latency=tuple(TimedRow.model_validate(dict(row)) for row in engine.latency),
    )
