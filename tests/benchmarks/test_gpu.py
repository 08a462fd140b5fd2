"""The parts of benchmarks/gpu.py that need no GPU."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.stages.graphs import write_converted

ROOT = Path(__file__).parents[2]

STAMP = "[11/20/2024-10:00:00] [I]"
SUMMARY = f"""\
{STAMP} === Performance summary ===
{STAMP} Throughput: 24567.8 qps
{STAMP} Latency: min = 0.0381 ms, max = 0.1 ms, mean = 0.0412 ms, median = 0.041 ms
{STAMP} Enqueue Time: min = 0.002 ms, max = 0.03 ms, mean = 0.0031 ms, median = 0.003 ms
{STAMP} H2D Latency: min = 0.003 ms, max = 0.02 ms, mean = 0.0041 ms, median = 0.004 ms
{STAMP} GPU Compute Time: min = 0.03 ms, max = 0.09 ms, mean = 0.0331 ms, median = 0.0328 ms
"""
"""As trtexec of TensorRT 10 prints it."""


@pytest.fixture(scope="module")
def gpu() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu", ROOT / "benchmarks" / "gpu.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_medians_of_trtexec_are_read(gpu: ModuleType) -> None:
    found = gpu.read_trtexec(SUMMARY)
    assert found == {"trtexec latency ms": 0.041, "trtexec compute ms": 0.0328}
    assert gpu.read_trtexec("&&&& FAILED TensorRT.trtexec") == {}


def test_a_row_without_trtexec_leaves_its_cells_empty(gpu: ModuleType) -> None:
    row = {"engine": "tensorrt.int8", "batch": 8, "ratio": 1.0312, "stable": False}
    line = gpu.table([row]).splitlines()[-1]
    assert "tensorrt.int8 | 8 |" in line
    assert "1.0312" in line
    assert line.endswith("| UNSTABLE |")


def test_without_a_gpu_it_says_why(tmp_path: Path) -> None:
    write_converted(tmp_path)
    words = (tmp_path, "--backends", "tensorrt_rtx", "--precisions", "int8", "--batch-sizes", "1")
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "gpu.py", *words],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("| engine | batch |")
    if "| tensorrt_rtx.int8 | 1 |" not in done.stdout:
        assert "tensorrt_rtx.int8 b1: " in done.stderr


def test_neither_it_nor_build_and_benchmark_need_what_the_gpu_kit_lacks() -> None:
    """The kit for GPU hosts has NumPy, ONNX, ONNX Runtime, PyCUDA, TensorRT and the CLI's needs."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(ROOT / "benchmarks" / "gpu.py")],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr


WITHOUT = """
import importlib, runpy, sys
lacking = ("tensorflow keras openvino ai_edge_litert matplotlib sklearn PIL h5py tf2onnx onnxslim "
           "mlflow tensorboard scipy")
sys.modules.update(dict.fromkeys(lacking.split()))
from stages.engines import modules, registry
for name in registry.ENGINES:
    modules.load(name)
for name in ("stages.build stages.benchmark pipeline.cli pipeline.core.worker "
             "pipeline.report.html").split():
    importlib.import_module(name)
runpy.run_path(sys.argv[1], run_name="imported")
"""
