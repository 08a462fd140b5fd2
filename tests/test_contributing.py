"""The recipes of CONTRIBUTING, followed block by block in a copy of the tree.

The run on the result takes a model of the user's own, too, from a folder that is no repository.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

BLOCK = re.compile(r"```(?:python|markdown)\n(?:<!--|#) (.+?)(?: -->)?\n(.*?)```", re.DOTALL)

OWN_MODEL = """
import keras
def build():
    image = keras.Input((28, 28, 1))
    x = keras.layers.Conv2D(8, 5, strides=3, activation="relu")(image)
    x = keras.layers.Flatten()(x)
    return keras.Model(image, keras.layers.Dense(2, activation="softmax")(x))
"""
QUICK = {
    "data.name": "bars",
    "model.source": "own:build",
    "data.test_samples": 40,
    "train.epochs": 10,
    "train.batch_size": 8,
    "prune.ratio": 0,
    "quantize.epochs": 1,
    "convert.parity_samples": 16,
    "build.backends": '["onnxruntime", "litert", "reference"]',
    "build.precisions": '["fp32", "int8"]',
    "build.batch_sizes": "[1]",
    "build.max_seconds_per_engine": 0.02,
    "benchmark.batch_sizes": "[1]",
    "benchmark.max_seconds_per_engine": 0.02,
    "benchmark.warmup_seconds": 0.01,
}


def follow(place: str, block: str, tree: Path) -> None:
    """Do what one block of a recipe says."""
    if place.startswith("new file "):
        file = tree / place.removeprefix("new file ")
        assert not file.exists()
        file.write_text(block)
    elif place.startswith("end of "):
        file = tree / place.removeprefix("end of ")
        file.write_text(file.read_text() + block)
    else:
        name, _, start = place.partition(", after: ")
        lines = (tree / name).read_text().splitlines(keepends=True)
        (found,) = [at for at, line in enumerate(lines) if line.strip().startswith(start)]
        (tree / name).write_text("".join([*lines[: found + 1], block, *lines[found + 1 :]]))


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project after all recipes."""
    copy: Path = tmp_path_factory.mktemp("recipes") / "project"
    for part in ("pipeline", "stages", "tests", "docs", "benchmarks", "configs", ".ci"):
        shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "Makefile"):
        shutil.copy(ROOT / file, copy)
    for place, block in BLOCK.findall((ROOT / "CONTRIBUTING.md").read_text()):
        follow(place, block, copy)
    return copy


def run(tree: Path, *command: str, cwd: Path | None = None) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=cwd or tree,
        env={**os.environ, "PYTHONPATH": str(tree), "COLUMNS": "120"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the user's, with a model, in which all stages were run."""
    own: Path = tmp_path_factory.mktemp("own")
    (own / "own.py").write_text(OWN_MODEL)
    options = [word for key, value in QUICK.items() for word in ("--set", f"{key}={value}")]
    run(tree, "-m", "pipeline", "run", "all", *options, cwd=own)
    return own


@pytest.fixture(scope="module")
def report(folder: Path) -> Any:
    """report.json of the run."""
    return json.loads((folder / "artifacts/report.json").read_text())


def test_the_new_engine_runs_in_float_and_in_int8_and_agrees_with_keras(report: Any) -> None:
    engines = {(each["backend"], each["precision"]): each for each in report["engines"]}
    for precision in ("fp32", "int8"):
        engine = engines["reference", precision]
        assert engine["state"] == "ran"
        assert engine["accuracy"] == engines["onnxruntime", precision]["accuracy"]
    build = next(stage for stage in report["stages"] if stage["stage"] == "build")
    checks = {check["name"]: check["passed"] for check in build["details"]["parity_checks"]}
    assert checks["reference.fp32"]
    assert checks["reference.int8"]


def test_what_the_new_stage_measures_is_in_the_report(report: Any, folder: Path) -> None:
    count = next(stage for stage in report["stages"] if stage["stage"] == "count")
    operators = json.loads((folder / "artifacts/count/operators.json").read_text())
    assert count["details"] == {"operators": operators}
    for file in ("report.md", "report.html"):
        assert "operators.Conv" in (folder / "artifacts" / file).read_text()


def test_the_new_data_set_was_learnt(report: Any) -> None:
    assert report["dataset"]["name"] == "bars"
    assert report["stages"][0]["accuracy"]["top1"] > 0.8


def test_the_users_own_model_goes_through_the_line(report: Any) -> None:
    ran = [engine for engine in report["engines"] if engine["state"] == "ran"]
    assert {engine["backend"] for engine in ran} >= {"onnxruntime", "litert"}
    assert {engine["precision"] for engine in ran} == {"fp32", "int8"}
    assert min(engine["accuracy"]["top1"] for engine in ran) > 0.8


def test_help_and_status_know_what_was_added(folder: Path, tree: Path) -> None:
    assert "count" in run(tree, "-m", "pipeline", "run", "--help")
    assert "count" in run(tree, "-m", "pipeline", "status", cwd=folder)


def test_the_projects_own_rules_hold_after_the_recipes(tree: Path) -> None:
    tests = ["tests/test_architecture.py", "tests/pipeline/core/test_plan.py"]
    tests += ["tests/stages/engines/test_registry.py", "tests/stages/test_settings.py"]
    # Whether the graphs of a row are written, the engine above has shown. Of the stages, whose
    # import brings TensorFlow, the recipes add one and leave the others alone.
    others = ("-k", "not has_a_file_of_the_convert_stage and not (plain_function and not count)")
    run(tree, "-m", "pytest", "-q", "-p", "no:cacheprovider", *others, *tests)
    run(tree, "-m", "ruff", "check", "pipeline", "stages")
    run(tree, "-m", "ruff", "format", "--check", "pipeline", "stages")
