"""The commands that show results of past runs: report, compare and history.

Rich and the reports are imported by what draws with them: see pipeline/commands.py.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from pipeline.core.display import console
from pipeline.core.plan import PLAN, Plan
from pipeline.core.store import Store
from stages.errors import ReportError, SettingsError

TABLE = "table"

ENDINGS = {"": TABLE, ".txt": TABLE, ".md": "md", ".html": "html", ".json": "json", ".csv": "csv"}
"""Ending of an output file -> format of the report."""

REPORT_FORMATS = frozenset(ENDINGS.values())
COMPARISON_FORMATS = frozenset((TABLE, "md", "json"))


def show_report(
    artifacts: Path, format: str | None, output: Path | None, plan: Plan = PLAN
) -> None:
    """Print the report, or write it to `output`, whose ending tells the format if none is given.

    Raises ArtifactError without a single record, SettingsError for an unknown ending.
    """
    from pipeline import finalize
    from pipeline.report import render, table
    from pipeline.results import gate

    format = format or _format_of(output)
    limits = gate.limits_before(artifacts)
    report = finalize.report_of(Store(artifacts, plan), plan, {}, limits)
    if format == TABLE:
        _draw(table(report), output)
    else:
        _deliver(render(report, format, artifacts), output)


def _format_of(output: Path | None, formats: Collection[str] = REPORT_FORMATS) -> str:
    ending = output.suffix if output else ""
    known = [each for each, format in ENDINGS.items() if format in formats]
    if ending not in known:
        raise SettingsError(
            f"got a report file ending in {ending!r}, expected one of: {' '.join(known)[1:]}",
            "or say which format with --format",
        )
    return ENDINGS[ending]


def _draw(drawing: Any, output: Path | None) -> None:
    """Print something of rich's, or write it to `output` as plain text."""
    if output is None:
        console().print(drawing)
        return
    plain = console(is_terminal=False)
    with plain.capture() as text:
        plain.print(drawing)
    _deliver(text.get(), output)


def _deliver(text: str, output: Path | None) -> None:
    if output is None:
        sys.stdout.write(text)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ReportError(
            f"cannot write the report to {str(output)!r}: {error.strerror}"
        ) from error


def show_comparison(
    runs: tuple[str, str],
    artifacts: Path,
    format: str | None,
    output: Path | None,
    plan: Plan = PLAN,
) -> None:
    """Print how the second of two runs differs from the first, or write it to `output`.

    Raises ArtifactError for a run that is not there, SettingsError for an unknown ending.
    """
    from pipeline import comparison

    format = format or _format_of(output, COMPARISON_FORMATS)
    before, after = (comparison.find(run, artifacts, plan) for run in runs)
    compared = comparison.compare(before, after)
    if format == TABLE:
        _draw(comparison.table(compared), output)
    else:
        _deliver(comparison.render(compared, format), output)


def show_history(artifacts: Path, format: str) -> None:
    """Print the runs of an artifact folder, oldest first. Raises ArtifactError."""
    from pipeline.report.history_table import history_table
    from pipeline.report.terminal import Drawn
    from pipeline.results import history

    runs, faults = history.read(artifacts)
    for fault in faults:
        print(f"warning: left out of the history: {fault}", file=sys.stderr)
    if format == "json":
        print(json.dumps([run.to_json() for run in runs], indent=1))
    elif not runs:
        print(f"no run in {artifacts / history.FILE} yet; pipeline run all writes the first one")
    else:
        table = history_table(runs)
        console().print(Drawn(table))
        print(*table.notes, sep="\n", end="\n" if table.notes else "")
