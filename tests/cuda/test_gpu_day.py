"""benchmarks/gpu_day.py from its first step to its archives, as far as the stand-in goes.

TensorRT-RTX builds its engines, and refuses the stand-in's driver when they are opened.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests import converted_artifact

pytest.importorskip("tensorrt_rtx", reason="the package tensorrt-rtx is not installed")

ROOT = Path(__file__).parents[2]
SMI = """#!/bin/sh
echo '92.61, 1980, 2619, 41, 0x0000000000000000'
"""
BRIEF = ('build.backends=["onnxruntime","tensorrt_rtx"]', 'build.precisions=["fp32"]')
BRIEF += ("build.max_seconds_per_engine=0.05", "benchmark.max_seconds_per_engine=0.05")
STEPS = (
    *("nvidia-smi", "lscpu", "nvcc"),
    *("tests.test_memory", "tests.test_engine", "tests.test_runtime_cache", "tests.test_contract"),
    "tests.test_gpu_peaks",
    *("engines.default_cnn.all", "pipeline.default_cnn", "peers.default_cnn"),
    "torch.default_cnn",
    "tests.test_prepared",
)


def day(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run it in `folder`, where a network and a nvidia-smi are."""
    given = [word for each in BRIEF for word in ("--set", each)]
    given += ["--out", str(folder / "out"), "--networks", str(folder / "networks")]
    given += ["--backends", "tensorrt_rtx", "--batch-sizes", "1", "--seconds", "0.02"]
    given += ["--precisions", "int8"]
    return subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "gpu_day.py", *given, *words],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PATH": os.pathsep.join([str(folder), os.environ["PATH"]]),
        },
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the whole day has been gone through."""
    folder: Path = tmp_path_factory.mktemp("day")
    converted_artifact.write(folder / "networks" / "default_cnn")
    (folder / "nvidia-smi").write_text(SMI)
    (folder / "nvidia-smi").chmod(0o755)
    done = day(folder)
    assert done.returncode == 0, done.stderr
    (folder / "printed").write_text(done.stdout)
    return folder


def results(folder: Path) -> dict[str, str]:
    """What the lines RESULT say, by step."""
    lines = (folder / "printed").read_text().splitlines()
    return {line.split()[1]: line.split(maxsplit=2)[2] for line in lines}


def rows(folder: Path) -> list[dict[str, object]]:
    text = (folder / "out" / "raw" / "default_cnn.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_every_step_ends_with_a_result(folder: Path) -> None:
    found = results(folder)
    assert tuple(found) == STEPS
    assert found["nvidia-smi"].endswith("0x0000000000000000")
    assert found["tests.test_memory"].startswith("ok")
    assert " passed" in found["tests.test_memory"]
    assert found["tests.test_contract"].startswith("failed")
    assert found["engines.default_cnn.all"].startswith("failed")
    assert found["engines.default_cnn.all"].endswith("0 of 1 engines measured")
    assert found["pipeline.default_cnn"].startswith("ok")
    assert "CUDAExecutionProvider" in found["peers.default_cnn"]
    assert found["torch.default_cnn"].startswith("ok")
    assert "PyTorch" in found["torch.default_cnn"]


def test_engines_are_built_before_the_driver_refuses_them(folder: Path) -> None:
    built = [row for row in rows(folder) if "build_s" in row]
    refused = [row for row in rows(folder) if "reason" in row]
    assert [row["engine"] for row in (*built, *refused)] == ["tensorrt_rtx.int8"] * 2
    assert all(row["kernels"] for row in built)
    assert all("CUDA driver version is insufficient" in str(row["reason"]) for row in refused)


def test_what_was_found_is_in_the_summary_and_in_the_archives(folder: Path) -> None:
    summary = (folder / "out" / "summary.md").read_text()
    assert "tensorrt_rtx.int8 b1" in summary
    assert all(f"RESULT {step} " in summary for step in STEPS)
    (archive,) = (folder / "out").glob("day-*.tar.gz")
    with tarfile.open(archive) as packed:
        names = set(packed.getnames())
    assert {"summary.md", "raw/steps.jsonl", "raw/default_cnn.jsonl"} <= names
    assert "raw/pipeline.default_cnn/report.json" in names


def test_nothing_is_done_twice(folder: Path) -> None:
    before = rows(folder)
    assert "is there already: add --resume" in day(folder).stderr
    again = day(folder, "--resume")
    assert (again.returncode, again.stdout) == (0, "")
    assert rows(folder) == before
