"""`pipeline search` as a user calls it, on a search whose trials are sums: see arithmetic.py."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from arithmetic import KNOBS, Arithmetic, result, settings_of
from children import call

from pipeline.core import ownership, seal
from pipeline.core.plan import PLAN
from pipeline.search import showing
from pipeline.search.job import Job
from pipeline.search.live import Quiet
from pipeline.search.results import Found
from pipeline.search.searching import read, search
from pipeline.search.study import PACKAGES
from stages.errors import EngineError

OPTIONS = ("--set", f"search.knobs={KNOBS}")


def work(job: Job) -> object:
    if job.trial == 2:
        raise EngineError("no engine can be built here")
    return result(job)


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory) -> Path:
    """After a search of 20 trials, of which the third failed."""
    folder = tmp_path_factory.mktemp("searched") / "artifacts"
    ownership.claim(folder, PLAN, [])
    settings = settings_of("search.trials=20", "search.rungs=[0.0, 1.0]")
    showing.publish(search(settings, folder, Arithmetic(work=work), Quiet(), "search"))
    return folder


def test_the_command_that_takes_a_trial_names_the_folder_of_the_search(artifacts, capsys):
    searched = read(settings_of(), artifacts)
    showing.publish(searched)
    assert (
        f"to take one: pipeline search --take N --artifacts {artifacts}" in capsys.readouterr().out
    )


def said(*arguments: str | Path) -> tuple[int, str]:
    """The exit code, and the first line of what went wrong."""
    done = call("search", *map(str, arguments))
    return done.exit_code, done.stderr.splitlines()[0] if done.stderr else ""


def test_what_was_found_is_shown_without_its_settings(artifacts):
    done = call("search", "--show", "--artifacts", str(artifacts))
    assert done.exit_code == 0
    found = Found.model_validate_json((artifacts / "search/report.json").read_text())
    shown = " ".join(done.stdout.split())
    assert f"Pareto front of accuracy, latency and size: {len(found.front)} trials." in shown
    assert "1 failed" in shown
    assert "Trial 1, the line unpruned, is on the front." in shown
    assert f"95 % interval of the best of {len(found.complete)}, Bonferroni" in shown
    assert "Rank correlation of the accuracy at rung 0 (without training)" in shown
    assert "accuracy by prune.ratio (" in shown
    assert "latency by prune.ratio (" in shown
    assert "On 1,000 test images, which chose nothing: " in shown


def test_as_json_it_is_what_the_report_holds(artifacts):
    done = call("search", "--show", "--format", "json", "--artifacts", str(artifacts))
    assert json.loads(done.stdout) == json.loads((artifacts / "search/report.json").read_text())


def test_the_page_shows_the_front_what_was_tried_and_every_trial(artifacts):
    page = (artifacts / "search/report.html").read_text()
    assert 'id="search-pareto-title"' in page
    assert 'id="search-parallel-title"' in page
    assert "no engine can be built here" in page
    assert ">prune.ratio 0<" in page
    assert "no engine can be built here" in (artifacts / "search/report.md").read_text()


def test_a_failed_trial_is_not_taken(artifacts):
    code, line = said("--take", "2", "--artifacts", artifacts)
    assert (code, line) == (1, "error: trial 2 failed: no engine can be built here")


def test_neither_is_one_that_was_stopped_or_that_is_not_there(artifacts):
    found = Found.model_validate_json((artifacts / "search/report.json").read_text())
    stopped = next(each.number for each in found.trials if each.state == "stopped")
    code, line = said("--take", str(stopped), "--artifacts", artifacts)
    assert code == 1
    assert line.startswith(f"error: trial {stopped} was never trained in full: it is stopped")
    assert said("--take", "99", "--artifacts", artifacts) == (1, "error: there is no trial 99")


def test_one_whose_files_are_gone_is_not_taken(artifacts):
    """Of a sum there never were any."""
    code, line = said("--take", "0", "--artifacts", artifacts)
    names = ", ".join(stage.name for stage in PLAN[:-1])
    assert (code, line) == (1, f"error: trial 0 has lost its {names}")


def test_other_knobs_in_the_same_folder_are_refused_and_nothing_is_lost(artifacts):
    before = (artifacts / "search/study.db").read_bytes()
    code, line = said("--artifacts", artifacts, "--set", 'search.knobs={"prune.rounds" = [1, 2]}')
    assert code == 2
    assert line.startswith(f"error: the search in '{artifacts / 'search'}' is of other settings: ")
    assert "search.knobs" in line
    assert (artifacts / "search/study.db").read_bytes() == before


def test_settings_that_change_no_trial_may_differ_from_call_to_call(artifacts):
    settings = settings_of(
        "search.trials=20",
        "search.rungs=[0.0, 1.0]",
        "search.max_accuracy_loss=1.0",
        "gates.parity=true",
    )
    searched = search(settings, artifacts, place := Arithmetic(work=work), Quiet(), "search")
    assert all(job.rung is None for job in place.started)
    loss = [searched.found.yardstick.loss_points(each.last) for each in searched.found.complete]
    front = [searched.found.trial(number) for number in searched.found.front]
    assert max(loss) > 1
    assert max(searched.found.yardstick.loss_points(each.last) for each in front) <= 1 + 1e-9


def test_a_search_whose_trials_are_gone_is_not_shown_as_an_empty_one(artifacts, tmp_path):
    copy = Path(shutil.copytree(artifacts, tmp_path / "copy"))
    (copy / "search/study.db").unlink()
    code, line = said("--show", "--artifacts", copy)
    assert (code, line) == (
        1,
        f"error: {copy / 'search/study.db'} is missing, which held the trials",
    )
    assert not (copy / "search/study.db").exists()


def test_a_search_of_another_version_is_told_from_a_damaged_one(artifacts, tmp_path):
    copy = Path(shutil.copytree(artifacts, tmp_path / "copy"))
    file = copy / "search/header.json"
    content = {**seal.opened(file.read_bytes()), "version": 1}
    file.write_bytes(seal.seal(json.dumps(content)))
    code, line = said("--show", "--artifacts", copy)
    assert code == 1
    assert line == (
        f"error: the search in '{copy}/search' was made by another version of the pipeline: its "
        "trials are of version 1, expected 4"
    )


def test_one_that_did_not_keep_its_machine_is_shown_and_not_gone_on_with(artifacts, tmp_path):
    copy = Path(shutil.copytree(artifacts, tmp_path / "copy"))
    file = copy / "search/header.json"
    content = {**seal.opened(file.read_bytes()), "version": 3}
    del content["machine"]
    file.write_bytes(seal.seal(json.dumps(content)))
    assert call("search", "--show", "--artifacts", str(copy)).exit_code == 0
    done = call("search", *OPTIONS, "--artifacts", str(copy))
    assert done.exit_code == 2
    line, hint = done.stderr.splitlines()
    assert line == (
        f"error: the search in '{copy}/search' was begun by an earlier version of the pipeline, "
        "which did not keep what its engines were timed on: more trials may not compare"
    )
    assert hint.startswith("hint: --show and --take still read it; to go on, search in another ")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"prune": {"gone": 1}}, "prune.gone: Extra inputs are not permitted"),
        ({"prune": {"depth": 2.5}}, "prune.depth: Input should be a valid boolean"),
    ],
    ids=["one that is gone", "one that was of another type"],
)
def test_a_search_with_settings_that_are_no_more_says_which(artifacts, tmp_path, settings, reason):
    copy = Path(shutil.copytree(artifacts, tmp_path / "copy"))
    file = copy / "search/header.json"
    content = seal.opened(file.read_bytes())
    for section, changes in settings.items():
        content["settings"][section] |= changes
    file.write_bytes(seal.seal(json.dumps(content)))
    for asked in (("--show",), ("--take", "1"), OPTIONS):
        code, line = said(*asked, "--artifacts", copy)
        assert (code, line) == (
            1,
            f"error: the search in '{copy}/search' was made by another version of the pipeline: "
            f"its settings are not those of this one: {reason}",
        )


def test_a_damaged_header_is_said_in_one_line(artifacts, tmp_path):
    copy = Path(shutil.copytree(artifacts, tmp_path / "copy"))
    header = copy / "search/header.json"
    header.write_bytes(header.read_bytes().replace(b"prune.ratio", b"prune.ratin", 1))
    code, line = said("--show", "--artifacts", copy)
    assert code == 1
    assert (
        line
        == f"error: {header} is damaged: its seal does not fit: it was changed after it was written"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--show",), "no search was made in "),
        (("--take", "1"), "no search was made in "),
        (("--show", "--take", "1"), "got --show and --take, expected one of them"),
        (("--format", "json"), "--format is for --show"),
        (("--set", 'search.knobs={"prune.ratoi" = [0.1]}'), "search.knobs: unknown setting"),
        (("--set", 'search.objectives=["speed"]'), "search.objectives[0]: got 'speed'"),
        (
            ("--set", 'search.objectives=["energy"]', "--set", "search.engine=litert.int8"),
            "search.objectives: 'energy' is never measured here: litert.int8 runs on the CPU",
        ),
        (
            ("--set", "search.engine=litert"),
            "search.engine: got 'litert', expected best or an engine as in litert.int8; did you "
            "mean 'litert.",
        ),
        (("--set", "search.rungs=[0.0, 0.5]"), "search.rungs: got [0.0, 0.5], expected shares"),
        (
            ("--set", "search.engine=litert.fp16"),
            "search.engine: litert.fp16 is never timed: LiteRT has no FP16",
        ),
        (("--cluster", ""), "--cluster: got '', expected auto or HOST:PORT"),
    ],
)
def test_a_mistake_is_said_in_one_line_before_anything_is_done(tmp_path, options, message):
    folder = tmp_path / "artifacts"
    done = call("search", *options, "--artifacts", str(folder))
    first, *hints = done.stderr.splitlines()
    assert done.exit_code in (1, 2)
    assert first.startswith(f"error: {message}")
    assert all(hint.startswith("hint: ") for hint in hints)
    assert not folder.exists()


@pytest.mark.parametrize(
    "storage",
    ["sqlite:////proc/none/study.db", "nosuch://host/name", "postgresql+nodriver://u:secret@h/n"],
)
def test_a_storage_that_cannot_be_opened_is_said_in_one_line_without_its_password(
    tmp_path, storage
):
    options = ("--artifacts", str(tmp_path / "a"), "--set", f"search.storage={storage}")
    done = call("search", *OPTIONS, *options)
    first, *hints = done.stderr.splitlines()
    assert done.exit_code == 2
    assert first.startswith("error: search.storage: ")
    assert "cannot be used" in first
    assert "secret" not in done.stderr
    assert all(hint.startswith("hint: ") for hint in hints)


def test_a_database_whose_driver_is_missing_names_the_package_and_no_trials_that_are_not_there(
    tmp_path,
):
    storage = "search.storage=oracle+oracledb://u:secret@h/n"
    done = call("search", *OPTIONS, "--artifacts", str(tmp_path / "a"), "--set", storage)
    assert done.exit_code == 2
    assert done.stderr.splitlines() == [
        "error: search.storage: oracle+oracledb://***@h/n cannot be used: the package oracledb is "
        "not installed",
        "hint: pip install oracledb",
    ]


def test_a_storage_that_is_damaged_is_said_in_one_line(tmp_path):
    file = tmp_path / "study.db"
    file.write_text("no database\n" * 100)
    done = call(
        "search", *OPTIONS, "--artifacts", str(tmp_path / "a"), "--set", f"search.storage={file}"
    )
    assert (done.exit_code, file.read_text()) == (2, "no database\n" * 100)
    assert "file is not a database" in done.stderr.splitlines()[0]


def test_the_help_names_every_package_that_a_search_needs():
    assert set(PACKAGES) <= set(call("search", "--help").stdout.split())
