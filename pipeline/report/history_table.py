"""How a history developed: what `pipeline history` shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.report.tables import Grid, flatten
from pipeline.results import units
from pipeline.results.summary import Summary, chosen_row

MOST_CHANGES = 2
COLUMNS: tuple[str, ...] = (
    "id",
    "time",
    "trained",
    "engine",
    "accuracy",
    "change",
    "p50 ms",
    "change in %",
)
COLUMNS += ("size", "gates", "settings that changed")


def trend(runs: Sequence[Summary]) -> Grid:
    """One line per run, oldest first; changes are against the line above."""
    pairs = zip(runs, [None, *runs[:-1]], strict=True)
    rows = tuple(_cells(run, previous) for run, previous in pairs)
    notes = ("How certain a change is: pipeline compare ID ID",) if len(runs) > 1 else ()
    return Grid("History", "Each run against the one before", COLUMNS, rows, notes)


def _cells(run: Summary, previous: Summary | None) -> tuple[str, ...]:
    old: Summary = previous or {}
    engine, row = _engine(run), chosen_row(run)
    before, row_before = (_engine(old), chosen_row(old)) if old else ({}, None)
    return (
        run["id"],
        run["time"][:16].replace("T", " "),
        units.percent(run["stages"].get("train", {}).get("top1")),
        run["engine"] or units.UNKNOWN,
        units.percent(engine.get("top1")),
        units.points(_points(engine, before)),
        units.milliseconds(row["p50_ms"] if row else None),
        _percent(row, row_before),
        units.size(engine.get("size_bytes")),
        _gates(run),
        _changes(run, old) if old else "",
    )


def _engine(run: Summary) -> Mapping[str, Any]:
    found: Mapping[str, Any] = run["engines"].get(run["engine"], {})
    return found


def _points(now: Mapping[str, Any], before: Mapping[str, Any]) -> float | None:
    if now.get("samples") is None or now["samples"] != before.get("samples"):
        return None
    change: float = 100 * (now["top1"] - before["top1"])
    return change


def _percent(now: Mapping[str, Any] | None, before: Mapping[str, Any] | None) -> str:
    if now is None or before is None or now["batch_size"] != before["batch_size"]:
        return units.UNKNOWN
    return f"{100 * (now['p50_ms'] / before['p50_ms'] - 1):+.1f}"


def _gates(run: Summary) -> str:
    missed = [gate["gate"] for gate in run["gates"] if gate.get("state") == "missed"]
    if missed:
        return f"missed: {', '.join(missed)}"
    return ", ".join(dict.fromkeys(gate.get("state", "") for gate in run["gates"]))


def _changes(run: Summary, old: Summary) -> str:
    before, now = dict(flatten(old["settings"])), dict(flatten(run["settings"]))
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    texts = [f"{name} {before.get(name, '-')} -> {now.get(name, '-')}" for name in names]
    more = [f"{len(texts) - MOST_CHANGES} more"] if len(texts) > MOST_CHANGES else []
    return ", ".join([*texts[:MOST_CHANGES], *more])
