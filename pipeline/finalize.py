"""What follows the stages of a run: report files, history, MLflow, and whether it was good enough.

Whatever fails here, the artifacts are made and stay. The history is imported where a run adds to
it: one that had nothing to do must not pay for it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.core import received
from pipeline.core.display import Detail, console
from pipeline.core.plan import Plan, rest
from pipeline.core.runner import Line
from pipeline.core.store import Store
from pipeline.report import can_write_page, table, write
from pipeline.report.contents import taken_home
from pipeline.results import gate
from pipeline.results.assemble import assemble
from pipeline.results.model import GateResult, Report
from stages.errors import (
    ArtifactError,
    GateFailed,
    ReportError,
    UserError,
    redacted,
    redacted_values,
)
from stages.settings import Settings


def prepare(settings: Settings) -> None:
    """Find out now what would fail after the work is done. Raises SettingsError."""
    if settings.report.mlflow:
        from pipeline.integrations import mlflow

        mlflow.require()


def report_of(
    store: Store, plan: Plan, outcomes: Mapping[str, str], limits: Mapping[str, float]
) -> Report:
    """The report, with the gates judged by `limits`; what those say joins its verdict.

    Raises ArtifactError if there is no record at all; one that is damaged is warned of.
    """
    records, faults = store.read_all(stage.name for stage in plan)
    for fault in faults:
        _warn(f"left out of the report: {fault}")
    report = assemble(records, outcomes)
    gates = gate.judge(report, limits)
    judged = [f"{gate.in_words(result)}." for result in gates]
    return report.model_copy(update={"gates": tuple(gates), "verdict": (*report.verdict, *judged)})


def publish(
    report: Report, artifacts: Path, id: str | None, detail: Detail = "normal"
) -> list[Path]:
    """Write the report files and return them; show the table and the run's id in the history.

    With the detail "quiet", show the verdict alone. Raises ReportError.
    """
    try:
        files = write(report, artifacts)
    except OSError as error:
        raise ReportError(
            f"cannot write the reports into {str(artifacts)!r}: {error.strerror}",
            "the artifacts are complete; again: pipeline run report",
        ) from error
    if detail == "quiet":
        print(*report.verdict, sep="\n")
        return files
    console().print(table(report))
    if engine := taken_home(report):
        print(f"\nengine: {artifacts / engine[0]} (to take it home: {engine[1]})")
    print("report:" if engine else "\nreport:", ", ".join(str(file) for file in files))
    if not can_write_page():
        print("no report.html: the package jinja2 is not installed (pip install jinja2)")
    if id:
        print("history: run", id)
    return files


def remember(report: Report, artifacts: Path, options: tuple[str, ...]) -> str | None:
    """Add the run to the history and return its id; one that cannot be written is warned of."""
    from pipeline.results import history, summary

    try:
        ending = history.Ending(options=options)
        return history.append(artifacts, summary.summarize(report), ending)
    except ArtifactError as error:
        _warn(f"{error.message}; {error.hint}")
        return None


def remember_failure(line: Line, error: BaseException, options: tuple[str, ...]) -> None:
    """Add a run that ended with `error` to the history, unless it had not begun any stage."""
    if not line.begun:
        return
    from pipeline.results import history, summary

    text = error.message if isinstance(error, UserError) else str(error) or type(error).__name__
    ending = history.Ending(
        state="interrupted" if isinstance(error, KeyboardInterrupt) else "failed",
        ended_at=line.begun[-1],
        options=options,
        error=None if isinstance(error, KeyboardInterrupt) else redacted(text.splitlines()[0]),
    )
    settings = redacted_values(_settings_of(line))
    try:
        history.append(line.store.root, summary.unfinished(settings, line.environment), ending)
    except ArtifactError as problem:
        _warn(problem.message)


def _settings_of(line: Line) -> dict[str, Any]:
    """As the stages see them; those up to an artifact from another machine are in its record."""
    copied = received.find(line.plan, line.store)
    found: dict[str, Any] = {}
    if copied and (record := line.store.read_all([copied.name])[0].get(copied.name)):
        found |= record.settings
    for stage in rest(line.plan, copied) if copied else line.plan:
        found |= stage.settings.of(line.settings).to_json()
    return found


def track(
    settings: Settings,
    report: Report,
    files: Sequence[Path],
    name: str | None,
    detail: Detail = "normal",
) -> ReportError | None:
    """Log the run to MLflow if the settings say so; an error is returned: the gates come first."""
    if settings.report.mlflow is None:
        return None
    from pipeline.integrations import mlflow
    from pipeline.results import summary

    run = summary.summarize(report)
    try:
        id = mlflow.log(settings.report.mlflow, report, run, files, name)
    except ReportError as error:
        return error
    if detail != "quiet":
        print("mlflow: run", id)
    return None


def conclude(gates: Sequence[GateResult], problem: ReportError | None) -> None:
    """Raise what decides the exit code: a missed gate, else `problem`, which never hides one."""
    for result in gates:
        if result.state == gate.NOT_JUDGED:
            _warn(gate.in_words(result))
    try:
        gate.enforce(gates)
    except GateFailed:
        if problem:
            _warn(problem.message)
        raise
    if problem:
        raise problem


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)
