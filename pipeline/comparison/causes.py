"""What differs between two runs and may explain a difference, or forbid to compare at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.comparison.model import Differing
from pipeline.comparison.runs import Run
from pipeline.core import differences
from pipeline.results import units
from pipeline.results.summary import EngineSummary, ModelSummary, Summary
from stages.results.base import Quality
from stages.results.machine import MachineFacts

LOAD_PER_CORE = 0.5
"""A load average that differs by more than this per core means other neighbours."""

STEAL_PERCENT = 1.0
"""More CPU time than this taken by other guests shows in the medians."""


def differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> Differing:
    """The names whose values are written differently."""
    return differences.differing(units.spelled(before), units.spelled(after))


def warnings(before: Run, after: Run) -> list[str]:
    """What makes the two runs less comparable than their numbers look, a sentence each."""
    a, b = before.summary, after.summary
    return [*_missing(before), *_missing(after), *_unlike(a, b), *_neighbours(a, b)]


def _missing(run: Run) -> Iterator[str]:
    if not run.summary.engines:
        yield f"{run.name} has no benchmark of its present model."
    row = run.summary.chosen_row
    if row is not None and row.stable is False:
        yield f"{run.name}: the median of its engine is not certain (UNSTABLE)."


def _unlike(before: Summary, after: Summary) -> Iterator[str]:
    names, counts = zip(*((run.dataset, _samples(run)) for run in (before, after)), strict=True)
    if _differ(*names) or _differ(*counts):
        yield "The test images differ, so the accuracies answer different questions."
    metrics = [_metric(run) for run in (before, after)]
    if _differ(*metrics):
        yield f"A is judged by {metrics[0]} and B by {metrics[1]}, which are not compared."
    machines = [_machine(run.environment) for run in (before, after)]
    if machines[0] != machines[1]:
        yield (
            f"Timed on different machines ({machines[0]}; {machines[1]}): "
            "latencies compare the machines as well."
        )
    if before.environment.packages != after.environment.packages:
        yield "Versions differ: see there before blaming the model."


def _samples(run: Summary) -> int | None:
    """Test images: of the trained model, or of the engine where only engines were copied to."""
    return run.stage("train").samples or (run.chosen.samples if run.chosen else None)


def _metric(run: Summary) -> str | None:
    """What the models of a run were judged by; None where none was."""
    judged: list[ModelSummary | EngineSummary] = [*run.stages.values(), *run.engines.values()]
    known = (each.metric for each in judged if each.metric or each.top1 is not None)
    return next((Quality(metric=metric).words for metric in known), None)


def _differ(one: object, other: object) -> bool:
    """Whether both are known and not the same."""
    return None not in (one, other) and one != other


def _machine(facts: MachineFacts) -> str:
    cpu = f"{facts.cpu.model or 'unknown CPU'}, {facts.cpu.cores} cores"
    return ", ".join([cpu, *facts.gpu.names])


def _neighbours(before: Summary, after: Summary) -> Iterator[str]:
    old, new = before.conditions, after.conditions
    load, other = old.load_average_before, new.load_average_before
    cores = before.environment.cpu.cores or 1
    if load is not None and other is not None and abs(load - other) > LOAD_PER_CORE * cores:
        yield f"The machine was not equally busy: load average {load:.1f} and {other:.1f}."
    stolen = [each.cpu_steal_percent or 0.0 for each in (old, new)]
    if max(stolen) > STEAL_PERCENT:
        yield (
            "Other guests of the host took CPU time while the engines were timed: "
            f"{stolen[0]:.1f} % and {stolen[1]:.1f} %."
        )
