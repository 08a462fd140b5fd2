"""A machine that gets `artifacts/convert` alone: no TensorFlow there, no data set, nothing else."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import converted_artifact
from tests.conftest import ROOT, pipeline
from tests.stages.graphs import CARRIED

GUIDE = (ROOT / "docs" / "another_machine.md").read_text()
_, THERE = re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL)
COMMANDS = [line.split("  #")[0].strip() for line in THERE.splitlines()]
ABSENT = ("tensorflow", "keras", "tf2onnx", "sklearn")
QUICK = [
    word
    for setting in (
        "build.max_seconds_per_engine=0.02",
        "benchmark.max_seconds_per_engine=0.02",
        "benchmark.warmup_seconds=0.001",
        'build.backends=["onnxruntime"]',
        "build.threads=[1]",
        "build.batch_sizes=[1]",
        "benchmark.batch_sizes=[1]",
    )
    for word in ("--set", setting)
]

Run = Callable[..., subprocess.CompletedProcess[str]]


def write_convert(artifacts: Path) -> None:
    """What `convert` made elsewhere of an own data set of coloured images."""
    converted_artifact.write(artifacts, channels=3, data={"name": "npz", "path": "photos.npz"})


@pytest.fixture(scope="module")
def absent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packages that cannot be imported, before those that are installed."""
    folder: Path = tmp_path_factory.mktemp("absent")
    for name in ABSENT:
        (folder / name).mkdir()
        error = f"ModuleNotFoundError(\"No module named '{name}'\", name='{name}')"
        (folder / name / "__init__.py").write_text(f"raise {error}\n")
    return folder


@pytest.fixture(scope="module")
def run(absent: Path) -> Run:
    def call(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", str(absent))
            return pipeline(*words, cwd=cwd)

    return call


@pytest.fixture(scope="module")
def machine(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the commands of the guide have run."""
    home: Path = tmp_path_factory.mktemp("machine")
    write_convert(home / "artifacts")
    output = []
    for words in map(shlex.split, COMMANDS):
        assert words[0] == "pipeline"
        options = QUICK if words[1] in ("run", "status") else []
        done = run(*words[1:], *options, cwd=home)
        assert done.returncode == 0, done.stdout + done.stderr
        output.append(f"$ {shlex.join(words)}\n{done.stdout}")
    (home / "output.txt").write_text("".join(output))
    return home


def shown(machine: Path, command: str) -> str:
    """What a command of the guide printed."""
    parts = (machine / "output.txt").read_text().split("$ ")
    return next(part for part in parts if part.startswith(f"{command}\n"))


def test_the_packages_are_really_absent(absent: Path, run: Run, tmp_path: Path) -> None:
    done = run("run", "train", "--set", "data.name=digits", cwd=tmp_path)
    assert done.returncode != 0
    assert "No module named 'keras'" in done.stdout + done.stderr


def test_build_and_benchmark_run_on_the_images_that_came_along(machine: Path) -> None:
    said = shown(machine, "pipeline run build benchmark")
    assert said.count("the line starts at convert, made on another machine") == 1
    report = json.loads((machine / "artifacts" / "report.json").read_text())
    ran = [engine for engine in report["engines"] if engine["state"] == "ran"]
    assert {(each["backend"], each["precision"]) for each in ran} >= {
        ("onnxruntime", "fp32"),
        ("onnxruntime", "int8"),
    }
    assert {engine["accuracy"]["samples"] for engine in ran} == {CARRIED}


def test_the_verdict_says_what_is_not_known_and_on_how_many_images_it_rests(machine: Path) -> None:
    verdict = json.loads((machine / "artifacts" / "report.json").read_text())["verdict"]
    assert "what train, prune and quantize measured is not known" in " ".join(verdict)
    assert f"Accuracy is that on {CARRIED} of the 64 test images" in " ".join(verdict)
    # The baseline has the graph of the pruned network here.
    assert "pruning" not in " ".join(verdict)
    assert "pipeline run all" not in shown(machine, "pipeline report")


def test_everything_is_fresh_and_convert_was_received(machine: Path) -> None:
    lines = shown(machine, "pipeline status").splitlines()[1:]
    states = {line.split()[0]: line.split()[1] for line in lines}
    assert states == {
        **dict.fromkeys(("train", "prune", "quantize"), "missing"),
        "convert": "received",
        **dict.fromkeys(("build", "benchmark"), "fresh"),
    }
    assert "train, prune, quantize did not run here" in lines[3]


def test_a_second_run_does_nothing_and_needs_no_file_of_the_data_set(
    machine: Path, run: Run
) -> None:
    own = ["--set", "data.name=npz", "--set", "data.path=photos.npz"]
    done = run("run", "build", "benchmark", *QUICK, *own, cwd=machine)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("fresh, skipped") == 2


def test_the_bundle_knows_its_data_set_and_how_many_images_it_was_measured_on(
    machine: Path,
) -> None:
    bundle = json.loads((machine / "engine" / "bundle.json").read_text())
    assert bundle["data"] == "npz"
    assert bundle["input"]["shape"] == [8, 8, 3]
    assert bundle["measured"]["accuracy"]["samples"] == CARRIED


def test_a_run_of_all_stages_does_not_replace_what_was_copied(machine: Path, run: Run) -> None:
    for options in ([], ["--dry-run"]):
        done = run("run", "all", *options, cwd=machine)
        assert done.returncode == 2
        assert "the line starts at convert here" in done.stderr
        assert "run: pipeline run build benchmark" in done.stderr
        assert "pipeline run all --force" in done.stderr


def test_the_whole_test_split_is_taken_where_it_is_asked_for(machine: Path, run: Run) -> None:
    options = [*QUICK, "--set", "benchmark.images=test"]
    done = run("run", "build", "benchmark", "--dry-run", *options, cwd=machine)
    assert done.returncode == 0, done.stderr
    assert 'benchmark.images "carried" -> "test"' in done.stdout
    assert "made on another machine" not in done.stdout


def test_a_copy_that_was_damaged_on_the_way_is_to_be_copied_again(run: Run, tmp_path: Path) -> None:
    write_convert(tmp_path / "artifacts")
    graph = tmp_path / "artifacts" / "convert" / "model.fp32.onnx"
    graph.write_bytes(graph.read_bytes()[:-1])
    done = run("run", "build", *QUICK, cwd=tmp_path)
    assert done.returncode == 1
    assert "model.fp32.onnx" in done.stderr
    assert "copy convert from the other machine again" in done.stderr
    status = run("status", cwd=tmp_path)
    assert re.search(r"convert +damaged .*model\.fp32\.onnx", status.stdout)
    verified = run("verify", cwd=tmp_path)
    assert "copy convert from the other machine again" in verified.stderr


def test_a_run_that_failed_is_remembered_with_the_settings_that_came_along(
    run: Run, tmp_path: Path
) -> None:
    write_convert(tmp_path / "artifacts")
    done = run("run", "build", "--set", 'build.backends=["tensorrt"]', cwd=tmp_path)
    assert done.returncode == 1
    (line,) = (tmp_path / "artifacts" / "history.jsonl").read_text().splitlines()
    assert json.loads(line)["dataset"] == "npz"
    assert json.loads(line)["model"] == "small"


def test_engines_alone_can_be_copied_too(machine: Path, run: Run, tmp_path: Path) -> None:
    shutil.copytree(machine / "artifacts" / "build", tmp_path / "artifacts" / "build")
    done = run("run", "benchmark", "--dry-run", *QUICK, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith("the line starts at build, made on another machine")
    assert second.split() == ["benchmark", "run", "missing"]
    done = run("run", "benchmark", "--dry-run", "--format", "json", *QUICK, cwd=tmp_path)
    (row,) = json.loads(done.stdout)["stages"]
    assert (row["stage"], row["action"], row["state"]) == ("benchmark", "run", "missing")
    assert done.stderr == f"{first}\n"
