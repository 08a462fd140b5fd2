"""What differs between two runs and may explain a difference, or forbid to compare at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.comparison.runs import Run
from pipeline.report.tables import flatten
from pipeline.results.summary import Summary, chosen_row

BUSY = 0.5
"""A load average that differs by so much per core means other neighbours."""

STEAL_PERCENT = 1.0
"""More CPU time than this taken by other guests shows in the medians."""


def differences(before: Summary, after: Summary) -> dict[str, dict[str, list[str | None]]]:
    """Names with their two values in words, where they differ; None where one has no such name."""
    return {
        "settings": _unequal(before["settings"], after["settings"]),
        "versions": _unequal(before["environment"], after["environment"]),
        "conditions": _unequal(before["conditions"], after["conditions"]),
    }


def _unequal(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, list[str | None]]:
    old, new = dict(flatten(before)), dict(flatten(after))
    names = dict.fromkeys((*old, *new))
    return {
        name: [old.get(name), new.get(name)] for name in names if old.get(name) != new.get(name)
    }


def warnings(before: Run, after: Run) -> list[str]:
    """What makes the two runs less comparable than their numbers look, a sentence each."""
    return [*_missing(before), *_missing(after), *_unlike(before.summary, after.summary)]


def _missing(run: Run) -> Iterator[str]:
    if not run.summary["engines"]:
        yield f"{run.name} has no benchmark of its present model."
    row = chosen_row(run.summary)
    if row is not None and row.get("stable") is False:
        yield f"{run.name}: the machine did not settle while its engine was timed."


def _unlike(before: Summary, after: Summary) -> Iterator[str]:
    data = [(run["dataset"], _test_samples(run)) for run in (before, after)]
    if data[0] != data[1]:
        yield "The test images differ, so the accuracies answer different questions."
    machines = [_machine(run["environment"]) for run in (before, after)]
    if machines[0] != machines[1]:
        yield (
            f"Timed on different machines ({machines[0]}; {machines[1]}): "
            "latencies compare the machines as well."
        )
    packages = [run["environment"].get("packages") for run in (before, after)]
    if packages[0] != packages[1]:
        yield "Versions differ: see there before blaming the model."
    yield from _neighbours(before, after)


def _test_samples(run: Summary) -> Any:
    return run["stages"].get("train", {}).get("samples")


def _machine(environment: Mapping[str, Any]) -> str:
    cpu, gpu = environment.get("cpu") or {}, environment.get("gpu") or {}
    parts = [cpu.get("model") or "unknown CPU", f"{cpu.get('cores')} cores"]
    return ", ".join([*parts, *(gpu.get("names") or [])])


def _neighbours(before: Summary, after: Summary) -> Iterator[str]:
    conditions = before["conditions"], after["conditions"]
    loads = [each.get("load_average_before") for each in conditions]
    cores = (before["environment"].get("cpu") or {}).get("cores") or 1
    if None not in loads and abs(loads[0] - loads[1]) > BUSY * cores:
        yield f"The machine was not equally busy: load average {loads[0]:.1f} and {loads[1]:.1f}."
    stolen = [each.get("cpu_steal_percent") or 0.0 for each in conditions]
    if max(stolen) > STEAL_PERCENT:
        yield (
            "Other guests of the host took CPU time while the engines were timed: "
            f"{stolen[0]:.1f} % and {stolen[1]:.1f} %."
        )
