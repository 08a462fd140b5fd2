"""`pipeline verify`: whether everything that was ever recorded is still as it was written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.core import received
from pipeline.core.plan import Plan
from pipeline.core.store import Store
from pipeline.results import history, model
from stages.errors import ArtifactError


@dataclass(frozen=True)
class Finding:
    """What was checked: `faults` is empty if it is sound, `fix` the command that renews it."""

    what: str
    count: str
    faults: tuple[str, ...]
    fix: str


def check(store: Store, plan: Plan) -> Iterator[Finding]:
    """Every file of every stage, hashed in full, every line of the history, and report.json."""
    copied = received.find(plan, store)
    for stage in plan:
        try:
            record = store.read(stage.name)
        except ArtifactError as error:
            yield Finding(stage.name, "record", (error.message,), error.hint)
            continue
        if record is not None:
            faults = store.damage(stage.name, record, in_full=True)
            fix = received.renewal(stage.name, copied)
            yield Finding(stage.name, f"{len(record.files)} files", faults, fix)
    runs, unreadable = history.read(store.root)
    if runs or unreadable:
        fix = f"delete the lines from {str(store.root / history.FILE)!r}: those runs are lost"
        yield Finding("history", f"{len(runs)} runs", tuple(unreadable), fix)
    file = store.root / "report.json"
    if file.exists():
        yield Finding("report", "1 file", _faults_of(file, plan), "run: pipeline run report")


def _faults_of(report: Path, plan: Plan) -> tuple[str, ...]:
    try:
        model.read(report.read_bytes(), plan)
    except OSError as error:
        return (f"{report} cannot be read: {error.strerror}",)
    except ValueError as error:
        return (f"{report} is damaged: {error}",)
    return ()
