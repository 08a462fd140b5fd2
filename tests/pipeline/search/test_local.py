from __future__ import annotations

import os
import queue
import signal
from pathlib import Path

from arithmetic import settings_of
from children import ends_soon

from pipeline.search.job import Job
from pipeline.search.places import Done, Said
from pipeline.search.places.local import Local
from stages.errors import DataError, StageCrashed


def job(folder: Path, *overrides: str) -> Job:
    settings = settings_of("data.name=npz", *overrides).model_dump(mode="json")
    return Job(root=folder, base=folder / "base", trial=3, rung=0, settings=settings)


def wait(place: Local) -> Done:
    while isinstance(heard := place.wait(), Said):
        pass
    return heard


def test_an_error_of_a_job_comes_back_as_it_was_and_the_process_takes_the_next_one(tmp_path):
    with Local(1, tmp_path / "logs") as place:
        for _ in range(2):
            place.start(job(tmp_path, f"data.path={tmp_path / 'missing.npz'}"))
            done = wait(place)
            assert isinstance(done.error, DataError)
            assert "missing.npz" in done.error.message
        (worker,) = place._idle
        assert worker.is_alive
        pid = worker._process.pid
    assert ends_soon(pid)


def test_a_process_that_dies_is_told_and_another_one_takes_its_place(tmp_path):
    pipe = tmp_path / "images.npz"
    os.mkfifo(pipe)  # whoever reads it waits
    with Local(1, tmp_path / "logs") as place:
        place.start(job(tmp_path, f"data.path={pipe}"))
        (worker,) = place._busy.values()
        os.kill(worker._process.pid, signal.SIGKILL)
        done = wait(place)
        assert isinstance(done.error, StageCrashed)
        assert done.error.message == "the process of trial 3 died"
        place.start(job(tmp_path, f"data.path={tmp_path / 'missing.npz'}"))
        assert isinstance(wait(place).error, DataError)


def test_a_process_whose_search_was_killed_ends_in_the_middle_of_a_job(tmp_path):
    pipe = tmp_path / "images.npz"
    os.mkfifo(pipe)
    with Local(1, tmp_path / "logs") as place:
        place.start(job(tmp_path, f"data.path={pipe}"))
        (worker,) = place._busy.values()
        worker._process.stdin.close()  # as the system does it for a process that is gone
        assert ends_soon(worker._process.pid)


def test_who_listens_to_a_process_that_is_killed_hears_its_end_however_late_he_begins(tmp_path):
    heard = queue.SimpleQueue()
    with Local(1, tmp_path / "logs") as place:
        place.start(job(tmp_path))
        (worker,) = place._busy.values()
    worker._listen(job(tmp_path), heard)
    assert heard.get().error.message == "the process of trial 3 died"


def test_at_the_end_a_process_is_killed_whatever_it_does(tmp_path):
    pipe = tmp_path / "images.npz"
    os.mkfifo(pipe)
    with Local(1, tmp_path / "logs") as place:
        place.start(job(tmp_path, f"data.path={pipe}"))
        (worker,) = place._busy.values()
    assert ends_soon(worker._process.pid)
