"""`pipeline search` from its settings to what it found.

artifacts/search/header.json                which settings the search is of
artifacts/search/study.db                   Optuna's storage, unless search.storage names one
artifacts/search/trials, pool, reference    see job.py
artifacts/search/report.json, .md, .html    what was found
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.core import ownership
from pipeline.core.lock import locked
from pipeline.core.plan import PLAN
from pipeline.core.runner import require_packages
from pipeline.core.store import Store
from pipeline.search import header, knobs, machine, results, study
from pipeline.search.driver import Driver, Shown
from pipeline.search.header import Header
from pipeline.search.job import MEASURED, REFERENCE, stages_of_trial
from pipeline.search.knobs import Dimension
from pipeline.search.machine import Facts
from pipeline.search.measurable import refuse_unmeasurable
from pipeline.search.places import Place
from pipeline.search.pool import Pool
from pipeline.search.results import Found
from pipeline.search.study import Study
from stages.errors import SECRET, ArtifactError, GateFailed, SettingsError, UserError
from stages.settings import Settings

FOLDER = "search"
DEFAULT = Path("artifacts")
"""The artifact folder of a command that names none."""


@dataclass(frozen=True)
class Searched:
    """A search that is there: its folder, what it found, and the settings that judge it."""

    folder: Path
    found: Found
    settings: Settings

    @property
    def option(self) -> str:
        """What ends a command that is to find it: "" or " --artifacts FOLDER"."""
        artifacts = self.folder.parent
        return "" if artifacts == DEFAULT else f" --artifacts {shlex.quote(str(artifacts))}"


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
        Pool(folder / "pool", PLAN).recover()
        with place:
            facts = machine.facts(place.machine)
            now, kept = _begin(settings, varied, folder, artifacts, facts)
            driver = Driver(
                settings, varied, kept, place, shown, folder, artifacts, now.external, facts
            )
            driver.run()
            found = _found(kept, settings, now)
            driver.test(results.winners(found, settings))
        found = _found(kept, settings, now)
    return Searched(folder, found, settings)


def _begin(
    settings: Settings, varied: Sequence[Dimension], folder: Path, artifacts: Path, facts: Facts
) -> tuple[Header, Study]:
    """The header and the study of this call: those of the calls before, if there were any.

    Raises UserError where these are of other settings or files, or another machine than that of
    `facts`; unless no trial of theirs was measured, as after a mistake in the first call: then the
    search begins anew, as it does where all trials failed.
    """
    store = Store(artifacts)
    external = header.external_of([settings, *knobs.each_choice(settings, varied)], store)
    store.hashes.save()
    controls = knobs.controls(settings, varied)
    before = header.read(folder)
    now = header.of(settings, controls, external, facts, before)
    if before and (before.key != now.key or _all_failed(settings, folder, before)):
        if _was_measured(settings, folder, before):
            header.refuse_other(now, before, folder)
        Store(folder / REFERENCE).discard(MEASURED)
        before, now = None, header.of(settings, controls, external, facts, None)
    kept = _study(settings.search.storage, folder, now, is_new=before is None)
    header.write(now, folder)
    return now, kept


def _was_measured(settings: Settings, folder: Path, before: Header) -> bool:
    """Whether a trial of the search with this header was; so it counts where nobody can tell."""
    try:
        kept = _study(settings.search.storage, folder, before, is_new=False)
        return any(each.rungs for each in kept.trials())
    except UserError:
        return True


def _all_failed(settings: Settings, folder: Path, before: Header) -> bool:
    """Whether all trials of the search with this header did. Raises what `_study` does."""
    trials = _study(settings.search.storage, folder, before, is_new=False).trials()
    return bool(trials) and all(each.state == "failed" for each in trials)


def prepare(settings: Settings, is_here: bool) -> None:
    """Find out now what would fail after hours. Raises SettingsError or MachineError.

    `is_here` says whether trials run on this machine.
    """
    study.require()
    knobs.dimensions(settings, stages_of_trial())
    for stage in stages_of_trial():
        require_packages(stage, settings)
    refuse_unmeasurable(settings, is_here)


def read(settings: Settings, artifacts: Path) -> Searched:
    """The search in an artifact folder, as it is now, with the settings of its last call.

    Of `settings` only search.storage counts, and what they set of the budgets. Raises ArtifactError
    where there is none, SettingsError for a search that is of other settings than they ask for.
    """
    folder = artifacts / FOLDER
    before = header.read(folder)
    if before is None:
        raise ArtifactError(f"no search was made in {str(artifacts)!r}", "run: pipeline search")
    line = header.judged_by(settings.search, before, folder)
    kept = _study(settings.search.storage, folder, before, is_new=False)
    return Searched(folder, _found(kept, line, before), line)


def refuse_missed(searched: Searched) -> None:
    """Raise GateFailed where the search found nothing: by how much, and what came nearest."""
    if shortfall := results.shortfall(searched.found, searched.settings):
        more = "" if searched.found.is_exhausted else "go on with more --trials or --hours, "
        raise GateFailed(shortfall, f"{more}let more vary with search.knobs, or allow more")


def _study(storage: str | None, folder: Path, of: Header, is_new: bool) -> Study:
    """The study of this header, in `storage` or in what it began with.

    Raises SettingsError, and ArtifactError where it is not there.
    """
    if storage is None and (storage := of.search.storage) and SECRET in storage:
        raise SettingsError(
            f"search.storage: the trials are in {storage}, and what is hidden there is not kept",
            "name the database again: --set search.storage=...",
        )
    file = folder / study.FILE
    if storage is None and not is_new and not file.is_file():
        raise ArtifactError(f"{file} is missing, which held the trials", header.anew(folder))
    url = study.address(storage, folder)
    return Study(url, of.study, len(of.search.objectives), of.search.seed, is_new)


def _found(kept: Study, settings: Settings, of: Header) -> Found:
    return results.find(kept.trials(), settings, kept.importances(), of.controls)
