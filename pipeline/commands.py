"""What each command does. `pipeline/cli.py` parses and calls; it knows nothing else.

Rich and the reports are imported by the commands that draw with them: the others must not
pay for them.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import config
from pipeline.core import ownership, received
from pipeline.core.display import NAME_WIDTH, console, display
from pipeline.core.freshness import assess_all
from pipeline.core.lock import locked
from pipeline.core.plan import PLAN, REPORT, Plan, select
from pipeline.core.runner import Line, run
from pipeline.core.store import Store
from stages.engines import environment
from stages.errors import ArtifactError, ReportError, SettingsError, UserError, redacted
from stages.settings import Settings

if TYPE_CHECKING:
    from pipeline.results.model import Report

TABLE = "table"

ENDINGS = {"": TABLE, ".txt": TABLE, ".md": "md", ".html": "html", ".json": "json", ".csv": "csv"}
"""Ending of an output file -> format of the report."""

REPORT_FORMATS = frozenset(ENDINGS.values())
COMPARISON_FORMATS = frozenset((TABLE, "md", "json"))


@dataclass(frozen=True)
class RunRequest:
    """The arguments of `pipeline run`; `command` is what the lock shows to others."""

    stages: tuple[str, ...]
    artifacts: Path
    first: str | None = None
    last: str | None = None
    force: bool = False
    command: str = "pipeline run"


def run_stages(request: RunRequest, settings: Settings, plan: Plan = PLAN) -> Report:
    """Run, write the reports, show the table, check the gates. Raises UserError."""
    from pipeline import finalize
    from pipeline.results import gate

    store = Store(request.artifacts, plan)
    selected, settings = _prepare(request, settings, plan, store)
    finalize.prepare(settings)
    ownership.claim(request.artifacts, plan, user_files(plan, settings))
    with locked(request.artifacts, request.command):
        with display() as shown:
            line = Line(plan, settings, store, _machine(), shown)
            try:
                outcomes = run(line, selected, request.force)
            except BaseException as error:
                finalize.remember_failure(line, error)
                raise
        report = finalize.report_of(store, plan, outcomes, gate.limits_of(settings.gates))
        did_something = "ran" in outcomes.values()
        id = finalize.remember(report, request.artifacts) if did_something else None
        files = finalize.publish(report, request.artifacts, id)
        must_log = did_something or REPORT in request.stages
        problem = finalize.track(settings, report, files, id) if must_log else None
    finalize.conclude(report.gates, problem)
    return report


def _prepare(
    request: RunRequest, settings: Settings, plan: Plan, store: Store
) -> tuple[Plan, Settings]:
    """The stages to run, and the settings for what this folder holds; says what it decides."""
    selected = select(plan, request.stages, request.first, request.last)
    copied = received.find(plan, store)
    if not request.force:
        received.require_beginning(plan, request.stages, selected, copied)
    settled = received.settle(settings, copied)
    is_decided = settled.benchmark.images != settings.benchmark.images
    if (
        copied
        and is_decided
        and any("benchmark" in stage.settings.model_fields for stage in selected)
    ):
        print(received.remark(copied), flush=True)
    return selected, settled


def _machine() -> dict[str, Any]:
    """This machine, as records hold it."""
    return environment.describe().model_dump(mode="json")


def user_files(plan: Plan, settings: Settings) -> list[Path]:
    """Files and folders of the user that the stages of `plan` read."""
    return [file for stage in plan for file in stage.settings.of(settings).external_files()]


def show_plan(request: RunRequest, settings: Settings, plan: Plan = PLAN) -> None:
    """Print what `pipeline run` would do; write nothing. Raises SettingsError."""
    store = Store(request.artifacts, plan)
    selected, settings = _prepare(request, settings, plan, store)
    states = assess_all(plan, settings, store, _machine())
    for stage in selected:
        state = states[stage.name]
        verb = "skip" if state.is_fresh and not request.force else "run"
        print(f"{stage.name:{NAME_WIDTH}} {verb:5} {state.name:8} {state.summary}".rstrip())


def show_status(artifacts: Path, settings: Settings, plan: Plan = PLAN) -> None:
    """Print the state of every artifact, and why it is not fresh."""
    store = Store(artifacts, plan)
    settings = received.settle(settings, received.find(plan, store))
    for name, state in assess_all(plan, settings, store, _machine()).items():
        print(f"{name:{NAME_WIDTH}} {state.name:8} {', '.join(state.reasons)}".rstrip())
    if ownership.is_marked(artifacts):
        store.hashes.save()


def show_verification(artifacts: Path, plan: Plan = PLAN) -> None:
    """Print what is damaged, and what renews it. Raises ArtifactError if anything is."""
    from pipeline.checks import verify

    findings = list(verify.check(Store(artifacts, plan), plan))
    if not findings:
        raise ArtifactError(
            f"nothing to verify: no run has left anything in {str(artifacts)!r}",
            "run: pipeline run all, or name the folder with --artifacts",
        )
    damaged = []
    for finding in findings:
        state = "damaged" if finding.faults else "sound"
        print(f"{finding.what:{NAME_WIDTH}} {finding.count:10} {state}")
        for fault in finding.faults:
            print(f"{'':{NAME_WIDTH}} {fault}")
        if finding.faults:
            damaged.append(finding)
    if damaged:
        what = ", ".join(finding.what for finding in damaged)
        fixes = dict.fromkeys(finding.fix for finding in damaged)
        raise ArtifactError(f"not as it was written: {what}", "\n".join(fixes))


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


def export_engine(
    to: Path,
    engine: str | None,
    batch_size: int | None,
    format: str,
    artifacts: Path,
    plan: Plan = PLAN,
) -> None:
    """Write a bundle and say how to use it. Raises ArtifactError, SettingsError."""
    from pipeline.bundle import triton
    from pipeline.bundle.export import Export, export

    bundle = export(Export(to, engine, batch_size, format), artifacts, plan)
    print(f"{to}: {bundle.engine.name.label}, {bundle.network}")
    if format == "triton":
        print("\n".join(triton.how_to_serve(to, bundle)))
    else:
        print(f"to use it: pipeline predict {to} IMAGES...")


def show_predictions(
    path: Path, images: Sequence[str], top: int, format: str, batch_size: int
) -> None:
    """Print what the engine of a bundle says of `images`; how many there were goes to stderr.

    Raises UserError at the end if an image was left out.
    """
    from pipeline.bundle import predicting
    from pipeline.bundle.engine import load

    def tell(text: str) -> None:
        sys.stdout.flush()
        print(text, file=sys.stderr)

    tally = predicting.Tally()
    with load(path) as engine:
        found = predicting.predict(engine, predicting.sources(images), top, batch_size, tell, tally)
        sys.stdout.writelines(predicting.FORMATS[format](found))
    tell(tally.in_words)
    if tally.faults:
        raise UserError(f"images that were left out: {tally.faults}; the others are above")


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


def show_settings(settings: Settings) -> None:
    """Print the effective settings as TOML."""
    print(config.to_toml(settings), end="")


def write_first_settings(words: Sequence[str], artifacts: Path) -> None:
    """Look at the model and the data set that `words` name, and write `pipeline.toml`.

    Raises UserError where a file of that name is there, or where the two do not suit the line.
    """
    from pipeline.checks import first_settings

    if os.path.lexists(config.FILE):
        raise SettingsError(
            f"{config.FILE} is there already, and nothing is overwritten",
            "rename it, or look at it: pipeline config",
        )
    given = config.load(None, first_settings.settings_of(words))
    with display() as shown:
        found = first_settings.look(given, artifacts, shown)
    parts = first_settings.describe(found, given)
    text = first_settings.to_toml(parts, redacted(shlex.join(["pipeline", "init", *words])))
    with config.FILE.open("x", encoding="utf-8") as stream:
        stream.write(text)
    config.load(config.FILE)
    for part in parts:
        print(f"{part.section:{NAME_WIDTH}} {part.sentence}")
    print(f"{config.FILE} is written; next: pipeline run all")


def show_schema() -> None:
    """Print the JSON Schema of the settings."""
    from stages.settings.meaning import schema

    print(json.dumps(schema(), indent=2))


def show_machine(format: str) -> None:
    """Print what this machine has and which engines it can build and run."""
    from pipeline.checks import doctor

    diagnosis = doctor.diagnose()
    if format == "json":
        print(json.dumps(diagnosis.to_json(), indent=1))
    else:
        console().print(doctor.table(diagnosis))


def show_devices(artifacts: Path, settings: Settings) -> None:
    """Train on every device of this host in turn, and print how fast each was."""
    from pipeline.checks import devices

    with display() as shown:
        rows = devices.compare(settings, artifacts, shown)
    console().print(devices.table(rows))
