"""Runs stages in the plan's order: skips the fresh, refuses damaged inputs, records the rest."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Literal, Protocol

from pipeline.core import received
from pipeline.core.display import Display
from pipeline.core.freshness import Environment, assess, identify
from pipeline.core.plan import Plan, Stage, ancestors
from pipeline.core.record import Identity, Record, write
from pipeline.core.store import Store
from stages.datasets.registry import PACKAGES
from stages.errors import ArtifactError, MachineError, UserError
from stages.errors.packages import TRAINING, install, missing, not_installed
from stages.settings import Settings

if TYPE_CHECKING:
    from pipeline.core.process import StageProcess

Outcome = Literal["ran", "cached"]


class Shelf(Protocol):
    """Artifacts of other runs, which a run takes in place of making them again."""

    def lent(self, stage: Stage, key: str, store: Store) -> AbstractContextManager[bool]:
        """Whether the artifact of `stage` with this key is in `store` now, lent from the shelf.

        If not, the block makes it, and whoever else wants it waits for that.
        """


@dataclass(frozen=True)
class Line:
    """All that a run works with; `environment` is that of stages.engines.environment.

    `begun` lists the stages that the run has started; of a run that failed, the last one failed.
    """

    plan: Plan
    settings: Settings
    store: Store
    environment: Environment
    display: Display
    begun: list[str] = field(default_factory=list)
    shelf: Shelf | None = None

    def identify(self, stage: Stage) -> Identity:
        """What decides the artifact of `stage`."""
        return identify(stage, self.settings, self.store, self.environment)


def run(line: Line, selected: Plan, force: bool = False) -> dict[str, Outcome]:
    """Bring the artifacts of `selected` up to date and say which stages ran.

    `force` runs them whether or not they are fresh. The caller holds the lock of the folder.
    Raises the error of the first stage that fails; what was done before it stays.
    """
    line.store.recover()
    _warn_of_stale_inputs(line, selected)
    outcomes: dict[str, Outcome] = {}
    try:
        with contextlib.ExitStack() as opened:

            @functools.cache
            def process() -> StageProcess:
                # Not at the top: a run with nothing to do must not pay for it.
                from pipeline.core.process import StageProcess

                return opened.enter_context(StageProcess(line.store.root))

            for stage in selected:
                outcomes[stage.name] = _bring_up_to_date(line, stage, force, process)
    finally:
        line.store.hashes.save()
    return outcomes


def _warn_of_stale_inputs(line: Line, selected: Plan) -> None:
    for stage in ancestors(line.plan, selected):
        try:
            state = assess(stage, line.identify(stage), line.store)
        except UserError:
            continue  # A machine that holds a part of the line only cannot tell, and need not.
        if state.name == "stale":
            line.display.warn(
                f"{stage.name} is stale ({state.summary}) and is used anyway; "
                "to renew it: pipeline run all"
            )


def _bring_up_to_date(
    line: Line, stage: Stage, force: bool, process: Callable[[], StageProcess]
) -> Outcome:
    identity = line.identify(stage)
    state = assess(stage, identity, line.store)
    if state.is_fresh and not force:
        # The run that made it may have been killed before it could do so.
        line.store.forget(stage.name, identity.compute_key())
        line.display.skip(stage.name)
        return "cached"
    if state.name == "damaged":
        line.display.warn(f"{state.summary}: {stage.name} runs again")
    _refuse_damaged_inputs(line, stage)
    require_packages(stage, line.settings)
    reason = "forced" if state.is_fresh else ": ".join(filter(None, (state.name, state.summary)))
    if force:
        line.store.forget(stage.name)
    with _lent(line, stage, identity) as is_lent:
        if is_lent:
            line.store.forget(stage.name)
            return "cached"
        line.display.start(stage.name, reason)
        line.begun.append(stage.name)
        _make(line, stage, identity, process())
    return "ran"


def _lent(line: Line, stage: Stage, identity: Identity) -> AbstractContextManager[bool]:
    if line.shelf is None:
        return contextlib.nullcontext(False)
    return line.shelf.lent(stage, identity.compute_key(), line.store)


def _refuse_damaged_inputs(line: Line, stage: Stage) -> None:
    for need in stage.needs:
        record = line.store.read(need)
        if record and (damage := line.store.damage(need, record, in_full=True)):
            raise ArtifactError(
                f"{damage[0]}; {stage.name} does not read it",
                received.renewal(need, received.find(line.plan, line.store)),
            )


def require_packages(stage: Stage, settings: Settings) -> None:
    """Say at once all that is missing for `stage`. Raises MachineError."""
    wanted = list(TRAINING) if stage.process == "tensorflow" else []
    data = getattr(stage.settings.of(settings), "data", None)
    wanted += PACKAGES.get(data.name, ()) if data else ()
    if absent := missing(dict.fromkeys(wanted)):
        raise MachineError(f"{stage.name}: {not_installed(absent)}", install(absent))


def _make(line: Line, stage: Stage, identity: Identity, process: StageProcess) -> None:
    from pipeline.core.process import Task

    started_at, clock = datetime.now(timezone.utc), time.monotonic()
    with line.store.writing(stage.name) as folder:
        inputs = {need: line.store.folder(need) for need in stage.needs}
        resume = line.store.resume(stage.name, identity.compute_key())
        log = line.store.log(stage.name)
        task = Task(stage, identity.settings, inputs, folder, log, resume)
        with line.display.printed(log):
            measurements = process.run(task, line.display.progress)
        seconds = time.monotonic() - clock
        record = Record(
            **{**dict(identity), "environment": dict(line.environment)},
            key=identity.compute_key(),
            started_at=started_at.isoformat(timespec="seconds"),
            seconds=round(seconds, 3),
            files=line.store.list_files(folder),
            measurements=measurements,
        )
        write(record, folder)
    for folder in line.store.set_aside:
        line.display.warn(f"{folder} holds what was in the place of {stage.name}, and is not ours")
    line.store.set_aside.clear()
    line.store.forget(stage.name)
    line.display.finish(stage.name, seconds)
