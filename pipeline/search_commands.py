"""What `pipeline search` does: see pipeline/commands.py."""

from __future__ import annotations

from pathlib import Path

from pipeline import finalize
from pipeline.core import ownership
from pipeline.core.plan import PLAN
from pipeline.core.store import Store
from pipeline.results import gate
from pipeline.search import live, searching, showing, taking
from pipeline.search.places.local import Local
from pipeline.search.places.ray import Ray
from stages.settings import Settings


def search(
    artifacts: Path,
    settings: Settings,
    command: str,
    is_quiet: bool = False,
    cluster: str | None = None,
) -> None:
    """Search, write the reports and print what was found. Raises UserError."""
    searching.prepare(settings, is_here=cluster is None)
    files = [file for stage in PLAN for file in stage.settings.of(settings).external_files()]
    folder, workers = artifacts / searching.FOLDER, settings.search.workers
    place = (
        Local(workers, folder / ".logs")
        if cluster is None
        else Ray(cluster, workers, folder, files)
    )
    ownership.claim(artifacts, PLAN, files)
    with live.display(is_quiet) as shown:
        searched = searching.search(settings, artifacts, place, shown, command)
    showing.publish(searched)
    searching.refuse_missed(searched)


def show_search(artifacts: Path, settings: Settings, format: str) -> None:
    """Print what was found so far. Raises ArtifactError without a search."""
    showing.show(searching.read(settings, artifacts), format)


def take_trial(artifacts: Path, settings: Settings, number: int) -> None:
    """Make a trial the artifacts of the line, with its reports, and say how to go on.

    Raises UserError.
    """
    words = taking.take(searching.read(settings, artifacts), artifacts, number, settings)
    limits = gate.limits_of(settings.gates)
    finalize.publish(finalize.report_of(Store(artifacts, PLAN), PLAN, {}, limits), artifacts, None)
    print(words)
