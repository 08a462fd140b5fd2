from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.search_scale import SECONDS, Threads, searched, sleeping
from pipeline.search.job import Job
from pipeline.search.model import RungResult
from stages.settings import Settings


def job(**prune: float) -> Job:
    settings = Settings.model_validate({"prune": prune}).model_dump(mode="json")
    return Job(root=Path(), base=Path(), trial=3, rung=0, settings=settings)


def test_trials_that_sleep_answer_and_other_settings_are_other_engines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(SECONDS, "0")
    jobs = [job(ratio=ratio) for ratio in (0.1, 0.2, 0.1)]
    some, other, again = (sleeping(each, lambda stage: None) for each in jobs)
    assert isinstance(some, RungResult)
    assert some.timed != other.timed
    assert some.timed == again.timed
    assert some.trained == other.trained


def test_a_trial_that_goes_wrong_in_a_thread_is_heard_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread died, and the benchmark waited for it without end."""
    monkeypatch.setenv(SECONDS, "soon")
    with Threads(1) as place:
        place.start(job())
        done = place.wait()
    assert isinstance(done.error, ValueError)


def test_a_search_of_such_trials_comes_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SECONDS, "0")
    (tmp_path / "search").mkdir()
    with Threads(2) as place:
        wall, cpu = searched(place, tmp_path / "search", 3)
    assert wall > 0
    assert cpu > 0
