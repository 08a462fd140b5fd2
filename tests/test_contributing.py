"""The recipes of CONTRIBUTING, followed block by block in a copy of the tree."""

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

QUICK = {
    "data.name": "bars",
    "data.test_samples": 40,
    "train.epochs": 3,
    "prune.epochs": 1,
    "quantize.epochs": 1,
    "convert.parity_samples": 16,
    "build.backends": '["onnxruntime", "reference"]',
    "build.precisions": '["fp32", "int8"]',
    "build.batch_sizes": "[1]",
    "build.max_seconds_per_engine": 0.02,
    "benchmark.batch_sizes": "[1]",
    "benchmark.max_seconds_per_engine": 0.02,
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
    leave = shutil.ignore_patterns(".*", "artifacts", "__pycache__", "*.egg-info")
    shutil.copytree(ROOT, copy, ignore=leave)
    for place, block in BLOCK.findall((ROOT / "CONTRIBUTING.md").read_text()):
        follow(place, block, copy)
    return copy


def run(tree: Path, *command: str) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree), "COLUMNS": "120"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def report(tree: Path) -> Any:
    """report.json after all stages were run on the new data set and the new engine."""
    options = [word for key, value in QUICK.items() for word in ("--set", f"{key}={value}")]
    run(tree, "-m", "pipeline", "run", "all", *options)
    return json.loads((tree / "artifacts/report.json").read_text())


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


def test_what_the_new_stage_measures_is_in_the_report(report: Any, tree: Path) -> None:
    count = next(stage for stage in report["stages"] if stage["stage"] == "count")
    operators = json.loads((tree / "artifacts/count/operators.json").read_text())
    assert count["details"] == {"operators": operators}
    for file in ("report.md", "report.html"):
        assert "operators.Conv" in (tree / "artifacts" / file).read_text()


def test_the_new_data_set_was_learnt(report: Any) -> None:
    assert report["dataset"]["name"] == "bars"
    assert report["stages"][0]["accuracy"]["top1"] > 0.8


def test_help_doctor_and_status_know_what_was_added(report: Any, tree: Path) -> None:
    assert "count" in run(tree, "-m", "pipeline", "run", "--help")
    assert "reference" in run(tree, "-m", "pipeline", "doctor")
    assert "count" in run(tree, "-m", "pipeline", "status")


def test_the_projects_own_rules_hold_after_the_recipes(tree: Path) -> None:
    tests = ["tests/test_architecture.py", "tests/pipeline/core/test_plan.py"]
    tests += ["tests/stages/engines/test_registry.py", "tests/stages/test_settings.py"]
    run(tree, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests)
    run(tree, "-m", "ruff", "check", "pipeline", "stages")
    run(tree, "-m", "ruff", "format", "--check", "pipeline", "stages")
