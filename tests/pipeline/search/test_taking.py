"""Trials of sums whose folders hold records with their settings, as those of a run do."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest
from arithmetic import Arithmetic, result, settings_of
from children import call
from records import parsed, records

from pipeline import config
from pipeline.core import ownership
from pipeline.core.freshness import assess_all, identify
from pipeline.core.plan import PLAN
from pipeline.core.record import Record, write
from pipeline.core.store import Store
from pipeline.search import header, knobs
from pipeline.search.driver import Driver
from pipeline.search.job import Job, folder_of, stages_of_trial
from pipeline.search.live import Quiet
from pipeline.search.model import Trial
from pipeline.search.results import find
from pipeline.search.rungs import at_share
from pipeline.search.searching import Searched, read, search
from pipeline.search.study import Study, address
from pipeline.search.taking import _refuse_others
from stages.engines import environment
from stages.errors import ArtifactError, SettingsError
from stages.settings import Settings

MEASURED = {name: each.measurements for name, each in parsed(records()).items()}
MACHINE = environment.describe().model_dump(mode="json")
LINE = ("train.epochs=3", "quantize.exclude_layers=['first']", "build.threads=[1]")


def work(job: Job) -> object:
    if job.rung is not None:
        store = Store(folder_of(job.root, job.trial), PLAN)
        for stage in stages_of_trial():
            identity = identify(stage, Settings.model_validate(job.settings), store, MACHINE)
            with store.writing(stage.name) as folder:
                (folder / "content.txt").write_text(identity.model_dump_json())
                record = Record(
                    **{**dict(identity), "environment": MACHINE},
                    key=identity.compute_key(),
                    started_at="2026-07-01T10:00:00+00:00",
                    seconds=1.0,
                    files=store.list_files(folder),
                    measurements=MEASURED[stage.name],
                )
                write(record, folder)
    return result(job)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("searched") / "artifacts"
    ownership.claim(folder, PLAN, [])
    options = ("search.trials=2", "search.rungs=[0.0, 1.0]", "search.winners=0", *LINE)
    search(settings_of(*options), folder, Arithmetic(work=work), Quiet(), "search")
    return folder


@pytest.fixture
def artifacts(searched: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(searched, tmp_path / "artifacts"))


def test_with_the_options_that_are_named_every_stage_of_the_taken_trial_is_fresh(artifacts):
    done = call(
        "search", "--take", "1", "--artifacts", str(artifacts), "--set", "gates.parity=true"
    )
    assert done.exit_code == 0, done.stderr
    (command,) = [
        line for line in done.stdout.splitlines() if line.startswith("to measure it at length: ")
    ]
    program, run, everything, *options = shlex.split(command.partition(": ")[2])
    assert (program, run, everything) == ("pipeline", "run", "all")
    named = dict(zip(options[::2], options[1::2], strict=True))
    assert named["--artifacts"] == str(artifacts)
    settings = config.load(Path(named["--config"]))
    assert (settings.prune.ratio, settings.train.epochs, settings.gates.parity) == (0.0, 3, True)
    states = assess_all(PLAN, settings, Store(artifacts, PLAN), MACHINE)
    assert {states[stage.name].name for stage in stages_of_trial()} == {"fresh"}


def test_a_folder_whose_records_are_of_another_trial_is_not_taken(artifacts):
    trials = artifacts / "search/trials"
    shutil.rmtree(trials / "0000")
    shutil.copytree(trials / "0001", trials / "0000")
    done = call("search", "--take", "0", "--artifacts", str(artifacts))
    assert done.exit_code == 1
    assert done.stderr.splitlines()[0] == (
        f"error: {trials / '0000'} is not of trial 0: prune has prune.ratio 0.0, not 0.4"
    )
    assert not (artifacts / "prune").exists()


def test_what_was_in_the_place_of_an_artifact_is_said_to_be_beside_it(artifacts):
    (artifacts / "prune").mkdir()
    (artifacts / "prune/mine.txt").write_text("mine")
    done = call("search", "--take", "0", "--artifacts", str(artifacts))
    assert done.exit_code == 0, done.stderr
    aside = artifacts / "prune.set-aside-1"
    assert f"{aside} holds what was in its place, and is not ours" in done.stdout.splitlines()
    assert (aside / "mine.txt").read_text() == "mine"


def test_what_an_address_hides_is_not_in_the_file_of_the_settings_but_asked_for(artifacts):
    secret = "--set=report.mlflow=http://me:word@host/"
    done = call("search", "--take", "0", "--artifacts", str(artifacts), secret)
    assert done.exit_code == 0, done.stderr
    assert " --set report.mlflow=... --artifacts " in done.stdout
    assert "word" not in (artifacts / "search/trial-0.toml").read_text()


def test_a_record_without_the_widths_of_a_trial_is_of_another_one():
    settings = settings_of("prune.widths={conv1 = 8}")
    trial = Trial(number=3, state="complete", values={"prune.ratio": 0.4})
    searched = Searched(Path(), find([trial], settings), settings)

    def refuse(other: Settings) -> None:
        own = at_share(other, 1.0, other)
        records = {
            stage.name: Record.model_construct(settings=stage.settings.of(own).to_json())
            for stage in stages_of_trial()
        }
        _refuse_others(records, trial, searched, Path("trials/0003"))

    refuse(knobs.settings_of(settings, trial.values))
    without = knobs.settings_of(settings, {"prune.widths": {}, **trial.values})
    with pytest.raises(ArtifactError, match=r"prune has prune\.widths\.conv1 None, not 8"):
        refuse(without)


def test_a_search_with_a_knob_that_is_refused_today_is_shown_and_taken_from(tmp_path):
    """As an earlier version made it, which took this knob; it does not go on."""
    root, count = tmp_path / "artifacts", ("search.trials=2", "search.rungs=[1.0]", *LINE)
    settings = settings_of('search.knobs={"convert.parity_samples" = [16, 32]}', *count)
    ownership.claim(root, PLAN, [])
    ownership.claim(folder := root / "search", PLAN, [])
    header.write(made := header.of(settings, [], {}, {}, None), folder)
    kept = Study(address(None, folder), made.study, len(made.search.objectives), 0, is_new=True)
    varied = [knobs.Dimension("convert.parity_samples", (16, 32))]
    Driver(settings, varied, kept, Arithmetic(work=work), Quiet(), folder, root).run()
    found = read(config.load(None, []), root).found
    assert found.is_exhausted
    done = call("search", "--show", "--artifacts", str(root))
    assert done.exit_code == 0, done.stderr
    assert "Every combination of the knobs has been tried." in " ".join(done.stdout.split())
    done = call("search", "--take", "1", "--artifacts", str(root))
    assert done.exit_code == 0, done.stderr
    samples = found.trial(1).values["convert.parity_samples"]
    assert Store(root, PLAN).read("convert").setting("convert.parity_samples") == samples
    with pytest.raises(SettingsError, match=r"convert\.parity_samples changes no engine"):
        search(settings, root, Arithmetic(work=work), Quiet(), "search")
