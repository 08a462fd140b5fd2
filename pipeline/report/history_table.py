"""How a history developed: what `pipeline history` shows."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.core.differences import differing
from pipeline.report.tables import Table
from pipeline.results import units
from pipeline.results.history import Entry
from pipeline.results.summary import EngineSummary, ModelSummary, TimedRow
from stages.tasks.registry import metric as named

MOST_CHANGES = 2
COLUMNS = (
    "id",
    "time",
    "trained",
    "engine",
    "accuracy",
    "change",
    "p50 ms",
    "change in %",
    "size",
    "outcome",
    "settings that changed",
)


def history_table(runs: Sequence[Entry]) -> Table:
    """One line per run, oldest first; changes are against the last run before it that was done."""
    rows, previous = [], None
    for run in runs:
        rows.append(_cells(run, previous))
        previous = run if run.state == "done" else previous
    notes = ("How certain a change is: pipeline compare ID ID",) if len(runs) > 1 else ()
    columns = tuple(_metric(runs) if column == "accuracy" else column for column in COLUMNS)
    return Table("History", "Each run against the one before", columns, tuple(rows), notes)


def _metric(runs: Sequence[Entry]) -> str:
    """What all of them are judged by: "accuracy", or the metric of another task."""
    metrics = {run.chosen.metric for run in runs if run.chosen}
    if len(metrics) > 1:
        return "score"
    metric = next(iter(metrics), None)
    return named(metric).words if metric else "accuracy"


def _cells(run: Entry, previous: Entry | None) -> tuple[str, ...]:
    engine, row = run.chosen or EngineSummary(), run.chosen_row
    is_comparable = previous is not None and previous.dataset == run.dataset
    before = previous.chosen if previous and is_comparable else None
    return (
        run.id,
        run.time[:16].replace("T", " "),
        units.percent(_score(run.stage("train"))),
        run.engine or units.UNKNOWN,
        units.percent(_score(engine)),
        units.points(_points(engine, before)),
        units.milliseconds(row.p50_ms if row else None),
        _percent(row, previous.chosen_row if previous else None),
        units.size(engine.size_bytes),
        _outcome(run),
        _changes(previous, run) if previous else "",
    )


def _points(now: EngineSummary, before: EngineSummary | None) -> float | None:
    if before is None or now.metric != before.metric or now.samples != before.samples:
        return None
    a, b = _score(before), _score(now)
    return None if a is None or b is None else 100 * (b - a)


def _score(measured: EngineSummary | ModelSummary) -> float | None:
    return measured.score if measured.metric else measured.top1


def _percent(now: TimedRow | None, before: TimedRow | None) -> str:
    if now is None or before is None or now.batch_size != before.batch_size:
        return units.UNKNOWN
    return f"{100 * (now.p50_ms / before.p50_ms - 1):+.1f}"


def _outcome(run: Entry) -> str:
    if run.state != "done":
        return f"{run.state} in {run.ended_at}"
    missed = [gate.gate for gate in run.gates if gate.state == "missed"]
    if missed:
        return f"missed: {', '.join(missed)}"
    return ", ".join(dict.fromkeys(gate.state for gate in run.gates))


def _changes(before: Entry, now: Entry) -> str:
    """ "prune.ratio 0.5 -> 0.25, 3 more"."""
    changes = differing(units.spelled(before.settings), units.spelled(now.settings))
    texts = [
        f"{name} {' -> '.join(units.UNKNOWN if value is None else value for value in values)}"
        for name, values in changes.items()
    ]
    more = [f"{len(texts) - MOST_CHANGES} more"] if len(texts) > MOST_CHANGES else []
    return ", ".join([*texts[:MOST_CHANGES], *more])
