"""`pipeline search` from its settings to what it found.

artifacts/search/header.json                which settings the search is of
artifacts/search/study.db                   Optuna's storage, unless search.storage names one
artifacts/search/trials, pool, reference    see job.py
artifacts/search/report.json, .md, .html    what was found
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.core import ownership
from pipeline.core.lock import locked
from pipeline.core.plan import PLAN
from pipeline.core.runner import require_packages
from pipeline.search import header, knobs, results, study
from pipeline.search.driver import Driver, Shown
from pipeline.search.header import Header
from pipeline.search.job import stages_of_trial
from pipeline.search.places import Place
from pipeline.search.results import Found
from pipeline.search.study import Study
from stages.engines.registry import ENGINES, EngineName
from stages.errors import ArtifactError, GateFailed, SettingsError
from stages.measurement import machine_state, throughput
from stages.settings import Settings

FOLDER = "search"


@dataclass(frozen=True)
class Searched:
    """A search that is there: its folder, what it found, and the settings that judge it."""

    folder: Path
    found: Found
    settings: Settings


def search(
    settings: Settings, artifacts: Path, place: Place, shown: Shown, command: str
) -> Searched:
    """Search on, from where an earlier call ended, and test the winners. Raises UserError.

    The caller has claimed `artifacts`, and called `prepare`.
    """
    varied = knobs.dimensions(settings, stages_of_trial())
    folder = artifacts / FOLDER
    ownership.claim(folder, PLAN, [])
    with locked(folder, command):
        now = header.of(settings, len(knobs.controls(settings, varied)))
        header.refuse_other(now, folder)
        kept = _study(settings, folder, now)
        header.write(now, folder)
        with place:
            driver = Driver(settings, varied, kept, place, shown, folder, artifacts)
            driver.run()
            found = _found(kept, settings, now.controls)
            driver.test(results.winners(found, settings))
        found = _found(kept, settings, now.controls)
    return Searched(folder, found, settings)


def prepare(settings: Settings) -> None:
    """Find out now what would fail after hours. Raises SettingsError or MachineError."""
    study.require()
    knobs.dimensions(settings, stages_of_trial())
    for stage in stages_of_trial():
        require_packages(stage, settings)
    search, leave_out = settings.search, "leave it out of search.objectives"
    if "memory" in search.objectives and not throughput.STATUS.exists():
        why = "this system does not tell what memory a process takes"
        raise SettingsError(f"search.objectives: 'memory' is never measured here: {why}", leave_out)
    if "energy" in search.objectives and (why := _without_power(search.engine)):
        raise SettingsError(f"search.objectives: 'energy' is never measured here: {why}", leave_out)


def _without_power(engine: str) -> str:
    """Why nothing tells the power that the engine takes; empty where something does."""
    if engine != "best" and ENGINES[EngineName.parse(engine).backend].device == "cpu":
        return f"{engine} runs on the CPU"
    return "" if machine_state.watch_command() else "no GPU tells its power"


def read(settings: Settings, artifacts: Path) -> Searched:
    """The search in an artifact folder, as it is now, by the budgets of its last call.

    Of `settings` only search.storage counts. Raises ArtifactError where there is none.
    """
    folder = artifacts / FOLDER
    before = header.read(folder)
    if before is None:
        raise ArtifactError(f"no search was made in {str(artifacts)!r}", "run: pipeline search")
    storage = settings.search.storage or before.search.storage
    if storage is None and not (folder / study.FILE).is_file():
        raise ArtifactError(
            f"{folder / study.FILE} is missing, which held the trials",
            "its folders are still there: trials; search anew: pipeline search",
        )
    own = before.search.model_copy(update={"storage": storage})
    settings = settings.model_copy(update={"search": own})
    kept = _study(settings, folder, before)
    return Searched(folder, _found(kept, settings, before.controls), settings)


def refuse_missed(searched: Searched) -> None:
    """Raise GateFailed where no trial meets the budgets: by how much, and what came nearest."""
    near = results.nearest_miss(searched.found, searched.settings)
    if near:
        trial, missed = near
        raise GateFailed(
            f"no trial meets the budgets; trial {trial.number} came nearest: "
            + ", ".join(each.in_words for each in missed),
            "try more with --trials, let more vary with search.knobs, or allow more",
        )


def _study(settings: Settings, folder: Path, of: Header) -> Study:
    """The study of this header. Raises SettingsError."""
    search = settings.search
    url = study.address(search.storage, folder)
    return Study(url, of.study, len(search.objectives), search.seed)


def _found(kept: Study, settings: Settings, controls: int) -> Found:
    return results.find(kept.trials(), settings, kept.importances(), controls)
