"""What each command does. `pipeline/cli.py` parses and calls; it knows nothing else.

Rich and the reports are imported by the commands that draw with them: the others must not
pay for them.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import config
from pipeline.core import ownership, received
from pipeline.core.display import NAME_WIDTH, Detail, console, display
from pipeline.core.freshness import State, assess_all
from pipeline.core.lock import locked
from pipeline.core.plan import PLAN, REPORT, Plan, select
from pipeline.core.runner import Line, run
from pipeline.core.store import Store
from stages.engines import environment
from stages.errors import ArtifactError, SettingsError, redacted
from stages.settings import Settings

if TYPE_CHECKING:
    from pipeline.results.model import Report


@dataclass(frozen=True)
class RunRequest:
    """The arguments of `pipeline run`.

    `command` is what the lock shows to others, `options` those that the settings were given with.
    """

    stages: tuple[str, ...]
    artifacts: Path
    first: str | None = None
    last: str | None = None
    force: bool = False
    command: str = "pipeline run"
    options: tuple[str, ...] = ()
    detail: Detail = "normal"


def run_stages(request: RunRequest, settings: Settings, plan: Plan = PLAN) -> Report:
    """Run, write the reports, show the table, check the gates. Raises UserError."""
    from pipeline import finalize
    from pipeline.results import gate

    store = Store(request.artifacts, plan)
    selected, settings, remark = _prepare(request, settings, plan, store)
    if remark and request.detail != "quiet":
        print(remark, flush=True)
    finalize.prepare(settings)
    ownership.claim(request.artifacts, plan, user_files(plan, settings))
    with locked(request.artifacts, request.command):
        with display(request.detail) as shown:
            line = Line(plan, settings, store, _machine(), shown)
            try:
                outcomes = run(line, selected, request.force)
            except BaseException as error:
                finalize.remember_failure(line, error, request.options)
                raise
        report = finalize.report_of(store, plan, outcomes, gate.limits_of(settings.gates))
        did_something, id = "ran" in outcomes.values(), None
        if did_something:
            id = finalize.remember(report, request.artifacts, request.options)
        files = finalize.publish(report, request.artifacts, id, request.detail)
        problem = None
        if did_something or REPORT in request.stages:
            problem = finalize.track(settings, report, files, id, request.detail)
    finalize.conclude(report.gates, problem)
    return report


def _prepare(
    request: RunRequest, settings: Settings, plan: Plan, store: Store
) -> tuple[Plan, Settings, str]:
    """The stages to run, the settings for what this folder holds, and a remark on what it decides.

    The remark is empty where the folder decides nothing.
    """
    selected = select(plan, request.stages, request.first, request.last)
    copied = received.find(plan, store)
    if not request.force:
        received.require_beginning(plan, request.stages, selected, copied)
    settled = received.settle(settings, copied)
    is_decided = settled.benchmark.images != settings.benchmark.images
    if copied and is_decided and any("benchmark" in row.settings.model_fields for row in selected):
        return selected, settled, received.remark(copied)
    return selected, settled, ""


def _machine() -> dict[str, Any]:
    """This machine, as records hold it."""
    return environment.describe().model_dump(mode="json")


def user_files(plan: Plan, settings: Settings) -> list[Path]:
    """Files and folders of the user that the stages of `plan` read."""
    return [file for stage in plan for file in stage.settings.of(settings).external_files()]


def show_plan(
    request: RunRequest, settings: Settings, format: str = "table", plan: Plan = PLAN
) -> None:
    """Print what `pipeline run` would do; write nothing. Raises SettingsError."""
    store = Store(request.artifacts, plan)
    selected, settings, remark = _prepare(request, settings, plan, store)
    if remark:
        print(remark, file=sys.stderr if format == "json" else sys.stdout)
    states = assess_all(plan, settings, store, _machine())
    verbs = {
        name: "skip" if state.is_fresh and not request.force else "run"
        for name, state in states.items()
    }
    wanted = {stage.name: states[stage.name] for stage in selected}
    if format == "json":
        rows = [{**_to_json(name, state), "action": verbs[name]} for name, state in wanted.items()]
        print(json.dumps({"stages": rows}, indent=1))
        return
    for name, state in wanted.items():
        print(f"{name:{NAME_WIDTH}} {verbs[name]:5} {state.name:8} {state.summary}".rstrip())


def _to_json(name: str, state: State) -> dict[str, Any]:
    return {"stage": name, "state": state.name, "reasons": list(state.reasons)}


def show_status(
    artifacts: Path,
    settings: Settings,
    format: str = "table",
    options: tuple[str, ...] = (),
    plan: Plan = PLAN,
) -> None:
    """Print the state of every artifact, and why it is not fresh.

    `options` are those that `settings` were given with; other ones of the last run are shown.
    """
    store = Store(artifacts, plan)
    settings = received.settle(settings, received.find(plan, store))
    states = assess_all(plan, settings, store, _machine())
    before = _options_of_last_run(artifacts)
    if format == "json":
        rows = [_to_json(name, state) for name, state in states.items()]
        last = None if before is None else {"options": list(before)}
        print(json.dumps({"stages": rows, "last_run": last}, indent=1))
    else:
        for name, state in states.items():
            print(f"{name:{NAME_WIDTH}} {state.name:8} {', '.join(state.reasons)}".rstrip())
        if before and before != options:
            # Not on stdout, which scripts read line by line.
            print(f"the last run was given: {shlex.join(before)}", file=sys.stderr)
    if ownership.is_marked(artifacts):
        store.hashes.save()


def _options_of_last_run(artifacts: Path) -> tuple[str, ...] | None:
    """What its settings were given with; None without a run, or where it cannot be read."""
    from pipeline.results import history

    try:
        runs, _ = history.read(artifacts)
    except ArtifactError:
        return None
    return runs[-1].options if runs else None


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


def show_settings(settings: Settings) -> None:
    """Print the effective settings as TOML."""
    print(config.to_toml(settings), end="")


def write_first_settings(
    words: Sequence[str], artifacts: Path, overrides: Sequence[str] = ()
) -> None:
    """Look at the model and the data set that `words` name, and write `pipeline.toml`.

    `overrides` say where the data are, where `words` do not say it all. Raises UserError where a
    file of that name is there, or where the two do not suit the line.
    """
    from pipeline.checks import first_settings

    if os.path.lexists(config.FILE):
        raise SettingsError(
            f"{config.FILE} is there already, and nothing is overwritten",
            "rename it, or look at it: pipeline config",
        )
    first_settings.refuse_others(overrides)
    given = config.load(None, [*first_settings.settings_of(words), *overrides])
    with display() as shown:
        found = first_settings.look(given, artifacts, shown)
    parts = first_settings.describe(found, given)
    command = ["pipeline", "init", *words, *(f"--set={each}" for each in overrides)]
    text = first_settings.to_toml(parts, redacted(shlex.join(command)))
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
