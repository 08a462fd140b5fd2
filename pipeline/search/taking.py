"""`pipeline search --take`: a trial becomes the artifacts of the line, as if they had been run."""

from __future__ import annotations

import shlex
from pathlib import Path

from pipeline.core import ownership
from pipeline.core.lock import locked
from pipeline.core.plan import PLAN
from pipeline.core.store import Store
from pipeline.search import knobs
from pipeline.search.job import folder_of, stages_of_trial
from pipeline.search.model import Trial
from pipeline.search.pool import share
from pipeline.search.searching import Searched
from stages.errors import ArtifactError


def take(searched: Searched, artifacts: Path, number: int) -> str:
    """Let `artifacts` have every stage of a trial that is complete; what there is to do next.

    The artifacts before are replaced as by a run; a stage that the trial lacks stays and is
    outdated. Raises ArtifactError for another trial, and for one whose files have changed.
    """
    trial = _complete(searched, number)
    source = Store(folder_of(searched.folder, number), PLAN)
    stages = [stage.name for stage in PLAN if source.read(stage.name)]
    if absent := [stage.name for stage in stages_of_trial() if stage.name not in stages]:
        raise ArtifactError(f"trial {number} has lost its {', '.join(absent)}")
    for stage in stages:
        record = source.read(stage)
        if record and (damage := source.damage(stage, record, in_full=True)):
            raise ArtifactError(f"{damage[0]}; trial {number} is not taken", _others(searched))
    ownership.claim(artifacts, PLAN, [])
    with locked(artifacts, f"pipeline search --take {number}"):
        target = Store(artifacts, PLAN)
        target.recover()
        for stage in stages:
            share(source, target, stage)
    words = shlex.join(knobs.words(trial.values))
    engine = trial.last.engine if trial.last else ""
    further = (
        "" if PLAN[-1].name in stages else f"\nto measure it at length: pipeline run all {words}"
    )
    return (
        f"{artifacts} is trial {number} now: {', '.join(stages)}\n"
        f"its settings: {words}{further}\n"
        f"to take its engine home: pipeline export --to BUNDLE --engine {engine}"
    )


def _complete(searched: Searched, number: int) -> Trial:
    trial = searched.found.trial(number)
    if trial is None:
        raise ArtifactError(f"there is no trial {number}", _others(searched))
    if trial.state == "failed":
        raise ArtifactError(f"trial {number} failed: {trial.reason}", _others(searched))
    if trial.state != "complete":
        words = shlex.join(knobs.words(trial.values))
        raise ArtifactError(
            f"trial {number} was never trained in full: it is {trial.state} at rung "
            f"{trial.last.rung if trial.last else 0} of {len(searched.found.rungs) - 1}",
            f"to train it: pipeline run all {words}\n{_others(searched)}",
        )
    return trial


def _others(searched: Searched) -> str:
    numbers = [str(each.number) for each in searched.found.complete]
    return f"trials that can be taken: {', '.join(numbers) or 'none yet'}"
