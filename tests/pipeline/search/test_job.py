from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from records import judged, parsed, records

from pipeline.core import ownership
from pipeline.core.plan import PLAN
from pipeline.core.record import FileEntry, write
from pipeline.core.runner import Line
from pipeline.core.store import Store
from pipeline.search import job, machine
from pipeline.search.job import (
    benchmarked,
    candidate,
    identity_of,
    refuse_other_files,
    size_of,
)
from stages.engines import environment
from stages.errors import DataError, EngineError, MachineError
from stages.measurement.alone import WAITS
from stages.results.engines import BuildDetails
from stages.settings import Settings
from stages.settings.searching import Search


def test_the_size_of_an_engine_is_that_of_all_files_that_it_is_exported_with():
    build = parsed(records())["build"]
    engine = next(each for each in build.measurements.engines if each.file)
    alone = build.files[engine.file].size_bytes
    apart = {
        f"{engine.file}.weights.onnx": FileEntry(sha256="0" * 64, size_bytes=1000),
        f"{engine.file}.json": FileEntry(sha256="1" * 64, size_bytes=200),
    }
    whole = build.model_copy(update={"files": {**build.files, **apart}})
    assert size_of(engine, build) == alone
    assert size_of(engine, whole) == alone + 1200


def test_what_is_timed_is_its_files_its_threads_its_batch_and_on_a_gpu_how_that_is_fed():
    build = parsed(records())["build"]
    engine = next(each for each in build.measurements.engines if each.file)

    def identity(engine=engine, record=build, threads=1, **sections):
        return identity_of(engine, record, threads, Settings.model_validate(sections))

    other = build.files[engine.file].model_copy(update={"sha256": "f" * 64})
    on_gpu = engine.model_copy(update={"backend": "tensorrt"})
    mapped = {"gpu": {"input": "mapped"}}
    found = {
        identity(),
        identity(record=build.model_copy(update={"files": {**build.files, engine.file: other}})),
        identity(threads=2),
        identity(search={"batch_size": 8}),
        identity(on_gpu),
        identity(on_gpu, **mapped),
    }
    assert len(found) == 6
    unlike = build.model_copy(update={"files": {**build.files, "other": other}})
    assert {identity(), identity(record=unlike), identity(**mapped)} == {identity()}


def job_in(folder: Path, **more: Any) -> job.Job:
    """One of the first trial of a search below `folder`, whose artifact folder is ours."""
    ownership.claim(folder / "a", PLAN, [])
    settings = Settings().model_dump(mode="json")
    return job.Job(root=folder / "a/search", base=folder / "a", trial=0, settings=settings, **more)


def chosen(top1: float | None) -> BuildDetails:
    timed = {"engine": "litert.int8", "threads": 1}
    choice = {
        "metric": "r2",
        "trained_top1": -0.1,
        "table": [{**timed, "batch_size": 1, "p50_ms": 1.0, "top1": top1}],
        "chosen": {1: {**timed, "within_budget": True, "stable": True}},
    }
    return BuildDetails.model_validate({"choice": choice})


def test_a_trial_whose_score_is_not_known_fails_as_0_would_beat_an_r2_below_it():
    assert candidate(chosen(-0.2), Search(), True)[1:3] == (-0.2, -0.1)
    with pytest.raises(EngineError, match=r"the score of litert\.int8 was not measured"):
        candidate(chosen(None), Search(), True)


@pytest.mark.parametrize("within_budget", [True, False])
@pytest.mark.parametrize("is_last", [True, False])
def test_a_network_without_its_fine_tune_is_not_judged_by_the_engine_that_has_an_image_more(
    within_budget: bool, is_last: bool
) -> None:
    """LiteRT is the fastest, and has two images less of 144 where 98 are wrong."""
    slow, fast = ({"engine": f"{name}.int8", "threads": 1} for name in ("openvino", "litert"))
    choice = {
        "trained_top1": 0.99,
        "validation_samples": 144,
        "table": [
            {**slow, "batch_size": 1, "p50_ms": 0.02, "top1": 48 / 144, "stable": True},
            {**fast, "batch_size": 1, "p50_ms": 0.01, "top1": 46 / 144, "stable": True},
        ],
        "chosen": {1: {**slow, "within_budget": within_budget, "stable": True}},
    }
    details = BuildDetails.model_validate({"choice": choice})
    found, top1, *_ = candidate(details, Search(), is_last)
    is_fastest = not (is_last or within_budget)
    expected = ("litert.int8", 46 / 144) if is_fastest else ("openvino.int8", 48 / 144)
    assert (found.engine, top1) == expected


def test_a_winner_whose_score_is_not_known_is_not_one_of_0():
    def benchmark(**measures):
        return parsed(judged(records(), **measures))["benchmark"].measurements

    found = benchmarked(benchmark(r2=-0.5), "litert.int8")
    assert (found.top1, found.trained_top1) == (-0.5, -0.5)
    unknown = benchmark(r2=-0.5)
    nothing = unknown.engines[2].accuracy.model_copy(update={"measures": {}})
    engine = unknown.engines[2].model_copy(update={"accuracy": nothing})
    with pytest.raises(EngineError, match=r"the score of litert\.int8 was not measured"):
        benchmarked(unknown.model_copy(update={"engines": (engine,)}), "litert.int8")


def test_a_winner_on_a_machine_that_has_changed_since_the_search_began_is_no_result(
    tmp_path, monkeypatch
):
    """As by an upgrade while it runs: what was timed before and after would be on one front."""
    benchmark = parsed(records())["benchmark"].model_copy(update={"files": {}})

    def run(line: Line, stages: object) -> None:
        with line.store.writing("benchmark") as folder:
            write(benchmark, folder)

    def tested(**changes: str) -> object:
        known = {**machine.facts(environment.describe()), **changes}
        return job.run_job(wanted.model_copy(update={"machine": known}))

    monkeypatch.setattr(job, "run", run)
    wanted = job_in(tmp_path, rung=None, engine="litert.int8")
    assert tested().top1 > 0
    with pytest.raises(MachineError, match=r'^numpy "0\.1" -> ".*" since the search began: its'):
        tested(numpy="0.1")


def test_what_a_kill_left_of_the_reference_is_removed_before_it_is_used(tmp_path):
    store, draft = Store(tmp_path / "trial", PLAN), tmp_path / "reference/.new-build-99"
    build = parsed(records())["build"].model_copy(update={"files": {}})
    with store.writing("build") as folder:
        write(build, folder)
    draft.mkdir(parents=True)
    assert job._reference(tmp_path, store) == tmp_path / "reference/build"
    assert not draft.exists()


@pytest.mark.parametrize("rung", [0, None])
def test_a_trial_or_a_winner_that_ran_on_other_data_is_no_result(tmp_path, monkeypatch, rung):
    train = parsed(records())["train"].model_copy(update={"files": {}})

    def run(line: Line, stages: object) -> None:
        with line.store.writing("train") as folder:
            write(train.model_copy(update={"external": {"photos.npz": "1" * 64}}), folder)

    monkeypatch.setattr(job, "run", run)
    wanted = job_in(tmp_path, rung=rung, external={"photos.npz": "2" * 64})
    with pytest.raises(DataError, match=r"photos\.npz has changed since the search began"):
        job.run_job(wanted)


def test_data_that_changed_since_the_search_began_end_it(tmp_path):
    store = Store(tmp_path, PLAN)
    train = parsed(records())["train"].model_copy(update={"files": {}})
    with store.writing("train") as folder:
        write(train.model_copy(update={"external": {"photos.npz": "1" * 64}}), folder)
    refuse_other_files(store, {"photos.npz": "1" * 64, "own.py": "2" * 64})
    with pytest.raises(DataError, match=r"photos\.npz has changed since the search began: its"):
        refuse_other_files(store, {"photos.npz": "2" * 64})


def test_a_stage_that_waits_for_the_machine_is_told_of_and_its_other_progress_is_not():
    said: list[str] = []
    told = job.Told(said.append)
    told.start("prune", "missing")
    told.progress("INFO", "sensitivity of conv1", None)
    told.progress("INFO", WAITS, None)
    assert said == ["prune", WAITS]
