"""`pipeline search --take`: a trial becomes the artifacts of the line, as if they had been run."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline import config
from pipeline.core import ownership
from pipeline.core.differences import differing, flatten
from pipeline.core.lock import locked
from pipeline.core.plan import PLAN
from pipeline.core.record import Record
from pipeline.core.store import Store
from pipeline.search import header, knobs, rungs
from pipeline.search.job import folder_of, stages_of_trial
from pipeline.search.model import Trial
from pipeline.search.pool import share
from pipeline.search.searching import Searched
from stages.artifacts.atomic import replacing
from stages.errors import SECRET, ArtifactError, redacted_values
from stages.settings import Settings


def take(searched: Searched, artifacts: Path, number: int, given: Settings) -> str:
    """Let `artifacts` have every stage of a trial that is complete; what there is to do next.

    The artifacts before are replaced as by a run; a stage that the trial lacks stays and is
    outdated. Of `given` count the settings that no trial reads, as of `benchmark`. Raises
    ArtifactError for another trial, and for one whose files have changed or are of another search.
    """
    trial = _complete(searched, number, given)
    source = Store(folder_of(searched.folder, number), PLAN)
    stages = _sound_stages(source, trial, searched)
    ownership.claim(artifacts, PLAN, [])
    with locked(artifacts, f"pipeline search --take {number}"):
        target = Store(artifacts, PLAN)
        target.recover()
        for stage in stages:
            share(source, target, stage)
    aside = [f"{each} holds what was in its place, and is not ours" for each in target.set_aside]
    options = _options(searched, trial, given)
    engine = trial.last.engine if trial.last else ""
    lines = [
        f"{artifacts} is trial {number} now: {', '.join(stages)}",
        *aside,
        f"its settings: {shlex.join(knobs.words(_set_by(trial)))}",
        f"all of them, as options: {options}",
        f"to take its engine home: pipeline export --to BUNDLE --engine {engine}{searched.option}",
    ]
    if PLAN[-1].name not in stages:
        lines.insert(-1, f"to measure it at length: pipeline run all {options}")
    return "\n".join(lines)


def _set_by(trial: Trial) -> dict[str, Any]:
    """What a command line is given; a target that was met is left out of it."""
    return {name: value for name, value in trial.ran_with.items() if value is not None}


def _sound_stages(source: Store, trial: Trial, searched: Searched) -> list[str]:
    """The stages in the folder of a trial, all of which are its own and as they were made."""
    records = {stage.name: record for stage in PLAN if (record := source.read(stage.name))}
    if absent := [stage.name for stage in stages_of_trial() if stage.name not in records]:
        raise ArtifactError(f"trial {trial.number} has lost its {', '.join(absent)}")
    _refuse_others(records, trial, searched, source.root)
    for stage, record in records.items():
        if damage := source.damage(stage, record, in_full=True):
            raise ArtifactError(
                f"{damage[0]}; trial {trial.number} is not taken", _others(searched)
            )
    return list(records)


def _complete(searched: Searched, number: int, given: Settings) -> Trial:
    trial = searched.found.trial(number)
    if trial is None:
        raise ArtifactError(f"there is no trial {number}", _others(searched))
    if trial.state == "failed":
        raise ArtifactError(f"trial {number} failed: {trial.reason}", _others(searched))
    if trial.state != "complete":
        options = _options(searched, trial, given)
        raise ArtifactError(
            f"trial {number} was never trained in full: it is {trial.state} at rung "
            f"{trial.last.rung if trial.last else 0} of {searched.found.top}",
            f"to train it: pipeline run all {options}\n{_others(searched)}",
        )
    return trial


def _others(searched: Searched) -> str:
    numbers = [str(each.number) for each in searched.found.complete]
    return f"trials that can be taken: {', '.join(numbers) or 'none yet'}"


def _settings_of(trial: Trial, searched: Searched) -> Settings:
    """Those that it ran with at the last rung."""
    line = searched.settings
    return rungs.at_share(knobs.settings_of(line, trial.ran_with), 1.0, line)


def _refuse_others(
    records: Mapping[str, Record], trial: Trial, searched: Searched, folder: Path
) -> None:
    """Raise ArtifactError where the records in its folder do not have the trial's settings."""
    own = _settings_of(trial, searched)
    for stage in stages_of_trial():
        wanted = redacted_values(stage.settings.of(own).to_json())
        found = records[stage.name].settings
        other = {
            name: pair for name, pair in differing(wanted, found).items() if _is_known(name, found)
        }
        if other:
            words = (f"{name} {theirs}, not {ours}" for name, (ours, theirs) in other.items())
            raise ArtifactError(
                f"{folder} is not of trial {trial.number}: {stage.name} has "
                f"{', '.join(list(words)[: header.MOST_SHOWN])}",
                "the folder and search.storage are of different searches; nothing was taken",
            )


def _is_known(name: str, settings: Mapping[str, Any]) -> bool:
    """Whether a record has the setting of a dotted name: one that is newer was the default."""
    section, key, *_ = name.split(".")
    return key in settings.get(section, {})


def _options(searched: Searched, trial: Trial, given: Settings) -> str:
    """Write all settings of a trial into a file; the options with which a run reads them."""
    own = _settings_of(trial, searched)
    read = {name for stage in stages_of_trial() for name in stage.settings.model_fields}
    others = {name: getattr(given, name) for name in Settings.model_fields if name not in read}
    whole = own.model_copy(update={**others, "search": Settings().search})
    content = redacted_values(whole.model_dump(mode="json"))
    file = searched.folder / f"trial-{trial.number}.toml"
    with replacing(file) as draft:
        draft.write_text(config.to_toml(Settings.model_validate(content)), encoding="utf-8")
    hidden = [name for name, value in flatten(content) if SECRET in str(value)]
    again = "".join(f" --set {name}=..." for name in hidden)
    return f"--config {shlex.quote(str(file))}{again}{searched.option}"
