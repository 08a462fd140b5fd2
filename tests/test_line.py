"""The whole line, end to end, on real digits, through the command line."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from PIL import Image

from pipeline import report as reports
from pipeline.core import seal
from pipeline.core.plan import PLAN
from stages.artifacts.signature import Signature
from stages.datasets.loading import load_test_split
from stages.engines import records
from stages.engines.modules import load
from stages.settings import Data
from tests.conftest import ROOT, pipeline, quick
from tests.test_readme import LINE as README
from tests.test_readme import blocks

STAGES = [stage.name for stage in PLAN]
SEARCH = "pipeline search "
ELSEWHERE = ("pipeline run ", "pipeline init ", SEARCH, "pipeline doctor")
"""Commands with tests of their own: tests/pipeline/checks calls doctor."""
BY_NAME = "predict({"
"""In a program for several inputs, which tests/pipeline/bundle/test_several_inputs.py runs."""


@pytest.fixture(scope="module")
def report(finished):
    return json.loads((finished / "report.json").read_text())


@pytest.fixture
def copy(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "artifacts"))


def states(folder: Path, *options: str) -> dict[str, str]:
    done = pipeline("status", "--artifacts", folder, *quick(*options))
    assert done.returncode == 0, done.stderr
    return {line.split()[0]: line.split()[1] for line in done.stdout.splitlines()}


def test_every_stage_leaves_a_record_with_accuracy_and_latency(finished):
    for stage in STAGES:
        record = json.loads((finished / stage / "record.json").read_text())
        assert record["stage"] == stage
        # That of build is on the samples, and would stand beside those of the whole test split.
        assert stage == "build" or record["measurements"]["accuracy"]["top1"] > 0.8
        assert record["measurements"]["latency"][0]["p50_ms"] > 0


def test_a_search_shares_what_is_fresh_and_one_of_its_trials_becomes_the_artifacts(copy):
    """Of engines alone, so that nothing is trained: with other knobs trials train, as runs do.

    The commands of the README; once both values are tried, nothing is left for the hour.
    """
    search, take = (shlex.split(line)[1:] for line in README if line.startswith(SEARCH))
    knobs = 'search.knobs={"build.backends" = [["litert"], ["onnxruntime"]]}'
    brief = ("search.rungs=[1.0]", "search.winners=1", "benchmark.batch_sizes=[1]")
    options = quick(knobs, *brief, "build.batch_sizes=[1]", 'build.precisions=["int8"]')
    home = copy.parent
    (home / "pipeline.toml").write_text(pipeline("config", *options).stdout)
    done = pipeline(*search, cwd=home)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((copy / "search/report.json").read_text())
    first, second = report["trials"]
    assert {first["rungs"][0]["engine"], second["rungs"][0]["engine"]} == {
        "litert.int8",
        "onnxruntime.int8",
    }
    for trial in (first, second):
        assert trial["state"] == "complete"
        assert trial["rungs"][0]["ran"] == ["build"]
        assert trial["rungs"][0]["samples"] == len(
            np.load(copy / "build/samples.npz")["validation_labels"]
        )
        folder = copy / f"search/trials/{trial['number']:04}"
        assert (folder / "train/model.keras").samefile(copy / "train/model.keras")
    (winner,) = [each for each in (first, second) if each["tested"]]
    assert winner["number"] in report["front"]
    assert winner["tested"]["samples"] == len(load_test_split(Data()).labels)

    trained = (copy / "train/model.keras").stat()
    taken = pipeline(*take, cwd=home)
    assert taken.returncode == 0, taken.stderr
    engines = [each.name for each in records.read(copy / "build") if each.file]
    assert take == ["search", "--take", str(second["number"])]
    assert [str(name) for name in engines] == [second["rungs"][0]["engine"]]
    (line,) = re.findall("^its settings: (.*)$", taken.stdout, re.MULTILINE)
    values = shlex.split(line)
    assert set(states(copy, *options[1::2], *values[1::2]).values()) == {"fresh"}
    assert (copy / "train/model.keras").stat().st_ino == trained.st_ino
    bundle = copy.parent / "bundle"
    assert pipeline("export", "--to", bundle, "--artifacts", copy).returncode == 0


def test_the_report_follows_its_published_schema(report):
    schema = json.loads((Path(reports.__file__).parent / "report.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(report)
    assert [entry["stage"] for entry in report["stages"]] == STAGES
    assert report["dataset"]["test_samples"] >= 350


def test_int8_engines_keep_the_accuracy_of_the_model_they_were_made_of(report):
    accuracy = {entry["stage"]: entry["accuracy"]["top1"] for entry in report["stages"]}
    ran = [engine for engine in report["engines"] if engine["state"] == "ran"]
    assert {("onnxruntime", "int8"), ("litert", "int8")} <= {
        (engine["backend"], engine["precision"]) for engine in ran
    }
    for engine in ran:
        assert engine["accuracy"]["top1"] >= accuracy["prune"] - 0.012
        assert engine["accuracy"]["samples"] == report["dataset"]["test_samples"]


def test_the_recorded_accuracy_is_that_of_the_engine_file(finished, report):
    test, signature = load_test_split(Data()), Signature.read(finished / "build")
    images = signature.feed(test.images)
    for entry in records.read(finished / "build"):
        if entry.file and load(entry.backend).run_blocker() is None:
            with records.runner(entry, finished / "build", signature, 1) as engine:
                logits = [engine.infer(images[at : at + 1]) for at in range(len(images))]
            correct = np.concatenate(logits).argmax(axis=1) == test.labels
            found = [
                engine["accuracy"]["top1"]
                for engine in report["engines"]
                if (engine["backend"], engine["precision"]) == (entry.backend, entry.precision)
            ]
            assert found == [pytest.approx(correct.mean(), abs=1 / 359)]


def test_what_cannot_run_here_says_why_and_what_would_change_it(report):
    for engine in report["engines"]:
        if engine["state"] != "ran":
            assert engine["reason"]
            assert engine["fix"]


def test_the_smaller_the_stage_the_smaller_its_files(report):
    size = {entry["stage"]: entry["model"]["parameters"] for entry in report["stages"]}
    assert size["prune"] < 0.5 * size["train"]


def test_piped_output_has_no_control_characters(finished):
    output = (finished.parent / "output.txt").read_text()
    assert "benchmark" in output
    assert not [c for c in output if ord(c) < 32 and c != "\n"]


def test_a_second_run_does_nothing_and_changes_nothing(copy):
    before = {file: file.read_bytes() for file in copy.glob("*/*") if file.is_file()}
    done = pipeline("run", "all", "--artifacts", copy, *quick())
    assert done.returncode == 0, done.stderr
    assert {file: file.read_bytes() for file in before} == before
    again = json.loads((copy / "report.json").read_text())
    assert {entry["state"] for entry in again["stages"]} == {"cached"}


def test_a_changed_setting_makes_its_stage_and_those_after_it_stale(finished):
    assert set(states(finished).values()) == {"fresh"}
    found = states(finished, "quantize.calibration=percentile")
    assert [found[stage] for stage in STAGES] == ["fresh"] * 2 + ["stale"] * 4


@pytest.fixture(scope="module")
def made_again(finished, tmp_path_factory):
    """What `finished` is once two of its stages have been run again."""
    folder = Path(shutil.copytree(finished, tmp_path_factory.mktemp("again") / "artifacts"))
    done = pipeline("run", "convert", "benchmark", "--force", "--artifacts", folder, *quick())
    assert done.returncode == 0, done.stderr
    return folder


def test_single_stages_are_run_again_alone(made_again):
    again = json.loads((made_again / "report.json").read_text())
    ran = [entry["stage"] for entry in again["stages"] if entry["state"] == "ran"]
    assert ran == ["convert", "benchmark"]


def test_what_is_made_again_from_the_same_is_the_same_and_leaves_all_after_it_fresh(
    finished, made_again
):
    for file in (finished / "convert").iterdir():
        again = made_again / "convert" / file.name
        assert file.name == "record.json" or again.read_bytes() == file.read_bytes(), file
    assert set(states(made_again).values()) == {"fresh"}


def test_two_runs_are_compared_image_by_image_and_unchanged_files_tell_of_the_machine(
    finished, made_again
):
    done = pipeline("compare", finished, made_again, "--format", "json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    timed = [row for row in found["latency"] if row["engine"] != "the chosen engine"]
    assert {"baseline", "onnxruntime.int8", "litert.int8"} <= {row["engine"] for row in timed}
    assert all(row["is_control"] for row in timed)
    engines = [row for row in found["accuracy"] if row["method"] == "paired"]
    assert "litert.int8" in [row["what"] for row in engines]
    assert (found["settings"], found["versions"]) == ({}, {})


def test_the_history_has_a_line_for_every_run_that_did_something(finished, made_again):
    done = pipeline("history", "--format", "json", "--artifacts", made_again)
    runs = json.loads(done.stdout)
    assert len(runs) == 2
    first, *_ = (finished / "history.jsonl").read_bytes().splitlines(keepends=True)
    assert runs[0] == seal.opened(first)
    assert {run["settings_hash"] for run in runs} == {runs[0]["settings_hash"]}
    assert all(run["engines"][run["engine"]]["latency"][0]["window_p50_ms"] for run in runs)


def test_a_truncated_artifact_is_never_read(copy):
    graph = copy / "convert" / "model.fp32.onnx"
    graph.write_bytes(graph.read_bytes()[:-1])
    done = pipeline("run", "build", "--force", "--artifacts", copy, *quick())
    assert done.returncode == 1
    assert "model.fp32.onnx" in done.stderr
    assert "pipeline run convert" in done.stderr


def test_an_engine_that_was_tampered_with_is_never_opened(copy):
    engine = next((copy / "build").glob("litert*"))
    content = bytearray(engine.read_bytes())
    content[len(content) // 2] ^= 1
    engine.write_bytes(bytes(content))
    done = pipeline("run", "benchmark", "--force", "--artifacts", copy, *quick())
    assert done.returncode == 1
    assert engine.name in done.stderr


def test_a_quality_gate_that_is_missed_ends_with_code_3(copy):
    options = [*quick(), "--max-accuracy-drop", "0"]
    record = copy / "train" / "record.json"
    content = seal.opened(record.read_bytes())
    content["measurements"]["accuracy"]["top1"] = 1.0
    record.write_bytes(seal.sealed(content, 1))
    done = pipeline("run", "report", "--artifacts", copy, *options)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "allowed" in done.stderr or "more than" in done.stderr


@pytest.mark.parametrize("form", ["table", "md", "html", "json", "csv"])
def test_the_report_is_shown_in_every_form(finished, form):
    done = pipeline("report", "--format", form, "--artifacts", finished)
    assert done.returncode == 0, done.stderr
    assert "litert" in done.stdout


@pytest.fixture(scope="module")
def bundle(finished, tmp_path_factory):
    """What `pipeline export` makes of the run."""
    folder = tmp_path_factory.mktemp("bundle") / "bundle"
    assert pipeline("export", "--to", folder, "--artifacts", finished).returncode == 0
    return folder


@pytest.fixture
def home(finished, tmp_path):
    """A folder in which `pipeline run all` has run; and another run's."""
    for folder in (tmp_path, tmp_path / "other"):
        folder.mkdir(exist_ok=True)
        (folder / "artifacts").symlink_to(finished)
    return tmp_path


def test_init_of_the_readme_writes_settings_that_run_at_once(finished, tmp_path):
    (command,) = (shlex.split(line) for line in README if line.startswith("pipeline init "))
    _, _, model, photos = command
    shutil.copy(finished / "train" / "model.keras", tmp_path / model)
    test = load_test_split(Data())
    for index, (image, label) in enumerate(zip(test.images, test.labels, strict=True)):
        folder = tmp_path / photos / ("train", "test")[index % 2] / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(folder / f"{index}.png")
    done = pipeline(*command[1:], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "model.keras" not in done.stdout
    assert f"{model} takes 28 x 28 x 1, returns 10 logits" in done.stdout
    assert "taken as it is" in done.stdout
    done = pipeline("run", "train", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[0] == "settings: pipeline.toml"
    record = json.loads((tmp_path / "artifacts" / "train" / "record.json").read_text())
    assert record["settings"]["train"]["epochs"] == 0
    assert record["measurements"]["accuracy"]["top1"] > 0.8


@pytest.mark.parametrize(
    "command",
    [each for each in README if not each.startswith(ELSEWHERE)],
)
def test_any_other_command_of_the_readme_works_on_a_finished_run(command, home, bundle):
    words = shlex.split(command)[1:]
    if words[0] == "predict":
        (home / words[1]).symlink_to(bundle)
        photo = home / words[2] if "." in words[2] else home / words[2] / "photo.png"
        photo.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(home / words[1] / "samples" / "0.png", photo)
    done = pipeline(*words, cwd=home)
    assert done.returncode == 0, done.stderr
    assert done.stdout or "--output" in words


@pytest.mark.parametrize("program", [each for each in blocks("python") if BY_NAME not in each])
def test_a_program_of_the_documentation_runs_as_it_is_written(program, home, bundle):
    (name,) = re.findall(r'pipeline\.load\("(\w+)"\)', program)
    (home / name).symlink_to(bundle)
    for index, photo in enumerate(("photo1.png", "photo2.png")):
        shutil.copy(bundle / "samples" / f"{index}.png", home / photo)
    # An image is an array as well; bundles of signals are asked by tests/stages/test_rank_lines.py.
    np.save(home / "wave.npy", np.asarray(Image.open(home / "photo1.png"))[..., None])
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=home,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
