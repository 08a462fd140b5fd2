"""The tests for GPUs start on a machine that has only what such a machine needs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LACKING = (
    *("ai_edge_litert", "h5py", "jinja2", "keras", "matplotlib", "onnxslim", "openvino"),
    *("sklearn", "tensorboard", "tensorflow", "tf2onnx"),
)
"""Packages of the line that neither build nor run TensorRT's engines."""


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """`pytest -m gpu` where every package of LACKING refuses to be imported."""
    folder = tmp_path_factory.mktemp("lacking")
    for name in LACKING:
        (folder / f"{name}.py").write_text("raise ImportError('not on this machine')\n")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-m", "gpu", "-p", "no:cacheprovider"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])},
        capture_output=True,
        text=True,
    )


def test_nothing_that_they_need_is_missing(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stdout[-3000:]
    summary = done.stdout.splitlines()[-1]
    assert re.search(r"\d{2,} (passed|skipped)", summary)
    assert "error" not in summary


def test_files_without_tests_for_gpus_are_not_even_read(
    done: subprocess.CompletedProcess[str],
) -> None:
    ran = set(re.findall(r"^(tests/\S+\.py) ", done.stdout, re.MULTILINE))
    marked = {
        file.relative_to(ROOT).as_posix()
        for file in (ROOT / "tests").rglob("test_*.py")
        if "pytest.mark." + "gpu" in file.read_text()
    }
    assert ran == marked
