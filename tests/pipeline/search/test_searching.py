"""A search as a whole: whose trials it has, where they are kept, and when it has found nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from arithmetic import Arithmetic, result, settings_of
from children import call

from pipeline import config
from pipeline.core import ownership
from pipeline.core.plan import PLAN
from pipeline.search import sentences
from pipeline.search.job import Job
from pipeline.search.live import Quiet
from pipeline.search.searching import Searched, read, refuse_missed, search
from stages.engines import environment
from stages.errors import ArtifactError, EngineError, GateFailed, SettingsError, UserError

BRIEF = ("search.rungs=[0.0, 1.0]", "search.winners=0")


def searched(folder: Path, *overrides: str, place: Arithmetic | None = None) -> Searched:
    ownership.claim(folder, PLAN, [])
    place = place or Arithmetic()
    return search(settings_of(*BRIEF, *overrides), folder, place, Quiet(), "search")


def test_two_folders_that_share_a_database_have_trials_of_their_own(tmp_path):
    storage = f"search.storage={tmp_path / 'both.db'}"
    first = searched(tmp_path / "a", "search.trials=3", storage)
    place = Arithmetic()
    second = searched(tmp_path / "b", "search.trials=2", storage, place=place)
    assert {job.root for job in place.started} == {tmp_path / "b/search"}
    assert (len(first.found.trials), len(second.found.trials)) == (3, 2)
    assert len(read(settings_of(), tmp_path / "a").found.trials) == 3


def test_a_search_goes_on_where_it_was_kept_whether_or_not_that_is_named_again(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    searched(tmp_path / "a", "search.trials=2", "search.storage=mine.db")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert len(searched(tmp_path / "a", "search.trials=3").found.trials) == 3
    assert len(read(settings_of(), tmp_path / "a").found.trials) == 3
    assert list(elsewhere.iterdir()) == []


def test_another_storage_for_the_same_folder_is_refused_and_not_made(tmp_path):
    searched(tmp_path / "b", "search.trials=1", f"search.storage={tmp_path / 'other.db'}")
    searched(tmp_path / "a", "search.trials=1")
    for name in ("none.db", "sqlite:///{}/none.db", "other.db"):
        storage = name.format(tmp_path) if "{}" in name else tmp_path / name
        with pytest.raises(ArtifactError, match="does not hold the study of this search, search-"):
            searched(tmp_path / "a", "search.trials=2", f"search.storage={storage}")
    assert not (tmp_path / "none.db").exists()
    assert len(read(settings_of(), tmp_path / "a").found.trials) == 1


def test_a_search_whose_trials_are_gone_does_not_begin_anew_beside_their_folders(tmp_path):
    searched(tmp_path / "a", "search.trials=1")
    (tmp_path / "a/search/study.db").unlink()
    with pytest.raises(ArtifactError, match="is missing, which held the trials"):
        searched(tmp_path / "a", "search.trials=1")
    assert not (tmp_path / "a/search/study.db").exists()


def test_a_database_whose_password_is_not_kept_is_to_be_named_again(tmp_path):
    file = tmp_path / "mine.db"
    searched(tmp_path / "a", "search.trials=1", f"search.storage=sqlite:///{file}?timeout=60")
    assert "timeout=60" not in (tmp_path / "a/search/header.json").read_text()
    with pytest.raises(SettingsError, match=r"the trials are in sqlite:.*timeout=\*\*\*"):
        read(settings_of(), tmp_path / "a")


def shortfall(folder: Path, *overrides: str, place: Arithmetic | None = None) -> str:
    found = searched(folder, *overrides, place=place)
    with pytest.raises(GateFailed) as caught:
        refuse_missed(found)
    assert caught.value.exit_code == 3
    text = caught.value.message
    assert f"{text[0].upper()}{text[1:]}." in sentences.verdict(found) or not found.found.trials
    return text


def test_where_complete_trials_miss_a_budget_the_nearest_says_by_how_much(tmp_path):
    budget = ("search.trials=2", "search.max_accuracy_loss=0.0", "search.max_p50_ms=0.099")
    assert shortfall(tmp_path, *budget) == (
        "no trial meets the budgets; trial 1 came nearest: search.max_p50_ms 0.099: 0.1 ms, 0.001 "
        "too much"
    )


def test_where_no_trial_is_complete_the_search_has_failed_though_nothing_missed_a_budget(tmp_path):
    def dies(job: Job) -> object:
        if job.rung == 1:
            raise EngineError("no engine")
        return result(job)

    found = shortfall(
        tmp_path,
        "search.trials=3",
        "search.kept_share=0.01",
        "search.max_p50_ms=1.0",
        place=Arithmetic(work=dies),
    )
    assert found == (
        "no trial meets the budgets; trial 2 came nearest: not trained in full: stopped at rung 0 "
        "of 1"
    )


def test_so_it_has_where_its_hours_were_over_before_anything_was_measured(tmp_path):
    hours = ("search.hours=1e-12", "search.max_p50_ms=1.0")
    assert shortfall(tmp_path, *hours) == "no trial meets the budgets: none was measured"
    assert (
        shortfall(tmp_path, "search.hours=1e-12")
        == "no trial was trained in full: none was measured"
    )


def test_the_line_as_it_is_set_is_named_where_a_trial_has_its_values_and_not_by_its_place(tmp_path):
    """0.4 is on no point of the first grid: what comes first there is the unpruned line."""
    knob = 'search.knobs={"prune.ratio" = {low = 0.0, high = 0.9, step = 0.3}}'
    found = searched(tmp_path / "a", "search.trials=2", knob)
    said = [each for each in sentences.verdict(found) if each.startswith("Trial ")]
    assert said == ["Trial 0, the line unpruned, is on the front."]
    knobs = 'search.knobs={"prune.ratio" = [0.1, 0.2], "prune.criterion" = ["l1", "l2"]}'
    found = searched(tmp_path / "b", "search.trials=1", knobs)
    (said,) = [each for each in sentences.verdict(found) if each.startswith("Trial ")]
    assert said == "Trial 0, the line as it is set but for prune.ratio, is on the front."


def test_a_storage_that_does_not_hold_the_search_is_said_in_one_line_and_not_made(tmp_path):
    searched(tmp_path / "a", "search.trials=1")
    options = (
        "--artifacts",
        str(tmp_path / "a"),
        "--set",
        f"search.storage={tmp_path / 'typo.db'}",
    )
    for words in (("--show",), ("--take", "0")):
        done = call("search", *words, *options)
        first, *hints = done.stderr.splitlines()
        assert done.exit_code == 1
        assert first.startswith(
            f"error: search.storage: sqlite:///{tmp_path}/typo.db does not hold"
        )
        assert all(hint.startswith("hint: ") for hint in hints)
    assert not (tmp_path / "typo.db").exists()


def test_where_all_is_tried_nobody_is_told_to_try_more(tmp_path):
    knobs = 'search.knobs={"prune.ratio" = [0.0, 0.5]}'
    found = searched(tmp_path, "search.trials=9", knobs, "search.max_p50_ms=1e-6")
    with pytest.raises(GateFailed) as caught:
        refuse_missed(found)
    assert caught.value.hint == "let more vary with search.knobs, or allow more"


def data_at(file: Path, content: bytes) -> tuple[str, ...]:
    file.write_bytes(content)
    return ("data.name=npz", f"data.path={file}")


def test_trials_on_other_data_are_refused_and_nothing_is_lost(tmp_path):
    """With the settings unchanged: trials of two networks were compared as if of one."""
    data = tmp_path / "photos.npz"
    searched(tmp_path / "a", "search.trials=1", *data_at(data, b"first"))
    with pytest.raises(SettingsError) as caught:
        searched(tmp_path / "a", "search.trials=2", *data_at(data, b"second"))
    assert caught.value.message.endswith(f"is of other files: {data} changed")
    assert len(read(settings_of(), tmp_path / "a").found.trials) == 1
    found = searched(tmp_path / "a", "search.trials=2", *data_at(data, b"first"))
    assert len(found.found.trials) == 2


def test_so_are_those_of_a_network_whose_code_has_changed_also_where_it_is_a_knob(
    tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("small", "large"):
        (tmp_path / f"{name}.py").write_text("def build():\n    return 1\n")
    knob = 'search.knobs={"model.source" = ["small:build", "large:build"]}'
    searched(tmp_path / "a", "search.trials=1", "model.source=small:build", knob)
    (tmp_path / "large.py").write_text("def build():\n    return 2\n")
    with pytest.raises(SettingsError, match=r"of other files: .*large\.py changed"):
        searched(tmp_path / "a", "search.trials=2", "model.source=small:build", knob)


def test_trials_know_the_files_that_the_search_began_with(tmp_path):
    place, data = Arithmetic(), tmp_path / "photos.npz"
    searched(tmp_path / "a", "search.trials=2", *data_at(data, b"first"), place=place)
    assert {str(data) in job.external for job in place.started} == {True}


def test_a_mistake_in_the_first_call_does_not_bind_the_folder(tmp_path):
    def refuses(job: Job) -> object:
        raise EngineError("data.scale is 1/255, expected 1")

    with pytest.raises(UserError, match="all 3 trials failed"):
        searched(tmp_path, "train.epochs=2", place=Arithmetic(work=refuses))
    found = searched(tmp_path, "search.trials=2", "train.epochs=3")
    assert [each.number for each in found.found.trials] == [0, 1]
    with pytest.raises(SettingsError, match=r"of other settings: train\.epochs 3 -> 4"):
        searched(tmp_path, "search.trials=2", "train.epochs=4")


def test_the_same_call_again_begins_anew_where_every_trial_failed(tmp_path):
    def refuses(job: Job) -> object:
        raise EngineError("LiteRT cannot be loaded")

    with pytest.raises(UserError, match="all 3 trials failed"):
        searched(tmp_path, "search.trials=3", place=Arithmetic(work=refuses))
    found = searched(tmp_path, "search.trials=3").found
    assert [each.number for each in found.trials] == [0, 1, 2]
    assert "failed" not in {each.state for each in found.trials}
    assert found.control.keys() == {0, 1}


def test_a_front_is_shown_within_the_budgets_that_are_asked_for(tmp_path):
    last = searched(tmp_path, "search.trials=8", "search.max_p50_ms=1.0")
    narrow = read(settings_of("search.max_p50_ms=0.05"), tmp_path)
    assert set(narrow.found.front) < set(last.found.front)
    assert narrow.settings.search.max_p50_ms == 0.05
    assert read(config.load(None, []), tmp_path).found.front == last.found.front
    with pytest.raises(SettingsError, match=r'search\.engine "best" -> "litert\.fp32"'):
        read(config.load(None, ["search.engine=litert.fp32"]), tmp_path)


def test_after_an_upgrade_of_a_runtime_no_trial_is_timed_beside_those_before(tmp_path, monkeypatch):
    """Old and new ratios were on one front, and an engine had the latency of the old runtime."""
    searched(tmp_path / "a", "search.trials=1")
    before = environment.describe().packages["ai-edge-litert"]
    info = tmp_path / "site/ai_edge_litert-99.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ai-edge-litert\nVersion: 99.0\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    with pytest.raises(SettingsError) as caught:
        searched(tmp_path / "a", "search.trials=2")
    assert caught.value.message == (
        f"the search in '{tmp_path}/a/search' is of other hardware or packages: ai-edge-litert "
        f'"{before}" -> "99.0"'
    )
    assert caught.value.hint.startswith("put it back as it was, or search in another folder with ")
    assert len(read(settings_of(), tmp_path / "a").found.trials) == 1
    monkeypatch.undo()
    place = Arithmetic()
    assert len(searched(tmp_path / "a", "search.trials=2", place=place).found.trials) == 2
    assert {job.machine["ai-edge-litert"] for job in place.started} == {before}


def test_what_a_kill_left_of_an_artifact_to_share_is_removed_by_the_next_call(tmp_path):
    searched(tmp_path, "search.trials=1")
    draft = tmp_path / "search/pool" / ("0" * 64) / ".new-build-99"
    draft.mkdir(parents=True)
    searched(tmp_path, "search.trials=2")
    assert not draft.exists()
