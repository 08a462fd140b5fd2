"""The parts of benchmarks/gpu.py that need no GPU."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.stages.graphs import write_converted

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import gpu
import gpu_bare
import gpu_day
import gpu_power
import gpu_rows

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


def test_the_medians_of_trtexec_are_read() -> None:
    found = gpu_bare.read_trtexec(SUMMARY)
    assert found == {"trtexec_p50_ms": 0.041, "trtexec_compute_ms": 0.0328}
    assert gpu_bare.read_trtexec("&&&& FAILED TensorRT.trtexec") == {}


def test_a_row_without_trtexec_leaves_its_cells_empty() -> None:
    row = {"engine": "tensorrt.int8", "batch": 8, "infer_by_bare": 1.0312, "stable": False}
    line = gpu.table([row | {"parity": {"passed": False}}]).splitlines()[-1]
    assert "tensorrt.int8 | 8 |" in line
    assert "1.0312" in line
    assert line.endswith("|  | FAILED | UNSTABLE |")


def test_the_share_of_kernels_that_only_move_is_in_the_table() -> None:
    heads, _, cells = gpu.table([{"moves_share": 0.125}]).splitlines()
    row = dict(zip(heads.split(" | "), cells.split(" | "), strict=True))
    assert row["moves"] == "0.1250"


def test_without_a_gpu_it_says_why(tmp_path: Path) -> None:
    write_converted(tmp_path)
    words = ("--backends", "tensorrt_rtx", "--precisions", "int8", "--batch-sizes", "1")
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "gpu.py", tmp_path, *words],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.stdout.startswith("| engine | batch |"), done.stderr
    is_measured = "| tensorrt_rtx.int8 | 1 |" in done.stdout
    assert done.returncode == (0 if is_measured else 1)
    if not is_measured:
        assert "tensorrt_rtx.int8 b1: " in done.stderr
        assert done.stdout.endswith("0 of 1 engines measured\n")


def test_without_minutes_it_says_what_is_missing(tmp_path: Path) -> None:
    words = ("--backends", "tensorrt", "--precisions", "fp16", "--minutes", "0")
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "gpu.py", tmp_path, *words],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == gpu.UNFINISHED
    assert "no minutes were left for: tensorrt.fp16 b1, tensorrt.fp16 b8" in done.stdout


def test_a_child_that_hangs_is_stopped_with_what_it_has_started(tmp_path: Path) -> None:
    script = "import subprocess; subprocess.run(['sleep', '600']); print('over')"
    start = time.monotonic()
    words = (sys.executable, "-c", script)
    assert gpu_rows.run(words, 1.0, tmp_path / "log") == "stopped after 1 s"
    assert time.monotonic() - start < 300
    assert (tmp_path / "log").read_text() == ""


def test_what_a_child_said_last_is_told(tmp_path: Path) -> None:
    words = (sys.executable, "-c", "print('out of memory'); raise SystemExit(9)")
    assert gpu_rows.run(words, 60, tmp_path / "log") == "ended with 9: out of memory"
    assert gpu_rows.run(("no-such-program",), 60, tmp_path / "log") == (
        "no-such-program is not on this machine"
    )


def test_rows_survive_a_line_that_was_cut_off(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    gpu_rows.append(file, {"engine": "tensorrt.int8", "batch": 1, "build_s": 2.0})
    gpu_rows.append(file, {"engine": "tensorrt.int8", "batch": 1, "done": True})
    with file.open("a") as stream:
        stream.write('{"engine": "tensorrt.int8", "ba')
    (row,) = gpu_rows.read(file, *gpu.KEYS)
    assert row == {"engine": "tensorrt.int8", "batch": 1, "build_s": 2.0, "done": True}
    assert gpu.missing(file, gpu.EngineName("tensorrt", "int8"), [1, 8]) == [8]


def test_power_is_that_of_the_second_half(tmp_path: Path) -> None:
    lines = ["70.0, 345, 2619, 33, 0x1", "300.0, 1980, 2619, 40, 0x0", "310.0, 1755, 2619, 41, 0x4"]
    assert gpu_power.summary("\n".join([*lines, "cut o"])) == {
        "watts": 305.0,
        "readings": 2,
        "sm_clock_mhz": [1755.0, 1980.0],
        "temperature_c": "41",
        "throttle_reasons": ["0x0", "0x4"],
    }
    assert gpu_power.summary("[N/A], [N/A], [N/A], [N/A]") == {}


def test_nvidia_smi_is_asked_while_something_runs(tmp_path: Path) -> None:
    smi, is_read = tmp_path / "smi", tmp_path / "read"
    line = "echo '99.5, 1980, 2619, 40, 0x0'"
    watched = f"{line}; {line}; touch {is_read}; exec sleep 600"
    smi.write_text(f'#!/bin/sh\ncase "$*" in *--loop-ms=*) {watched};; *) {line};; esac\n')
    smi.chmod(0o755)
    with gpu_power.sampled(str(smi)) as power:
        while not is_read.exists():
            time.sleep(0.01)
    assert power["watts"] == 99.5
    with gpu_power.sampled("no-such-program") as power:
        pass
    assert power == {}


def test_archives_keep_to_their_size_and_name_what_has_no_room(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    (tmp_path / "summary.md").write_text("short")
    for number in range(6):
        (raw / f"{number}.bin").write_bytes(os.urandom(40_000))
    (raw / "large.bin").write_bytes(os.urandom(70_000))
    left_out = gpu_day.pack(raw, tmp_path, largest=60_000)
    archives = sorted(tmp_path.glob("day-*.tar.gz"))
    assert len(archives) == gpu_day.ARCHIVES
    assert all(file.stat().st_size <= 60_000 for file in archives)
    assert left_out == ["raw/4.bin", "raw/5.bin", "raw/large.bin"]


def test_what_is_worth_most_comes_first(tmp_path: Path) -> None:
    for name in ("own", "default_cnn", "resnet50", "mobilenetv2"):
        (tmp_path / name / "convert").mkdir(parents=True)
        (tmp_path / name / "convert" / "signature.json").touch()
    options = gpu_day.parsed(["--out", str(tmp_path), "--networks", str(tmp_path)])
    steps = [step.name for step in gpu_day.plan(options, tmp_path)]
    assert [name for name in steps if not name.startswith("tests.")][3:] == [
        *("engines.resnet50.first", "engines.default_cnn.all", "pipeline.default_cnn"),
        *("engines.mobilenetv2.all", "engines.own.all", "engines.resnet50.all"),
        *("peers.resnet50", "torch.resnet50", "peers.default_cnn", "torch.default_cnn"),
        *("peers.mobilenetv2", "torch.mobilenetv2", "peers.own", "torch.own"),
    ]
    assert steps[-1] == "tests.test_prepared"


def test_neither_it_nor_build_and_benchmark_need_what_the_gpu_kit_lacks() -> None:
    """The kit for GPU hosts has NumPy, ONNX, ONNX Runtime, PyCUDA, TensorRT and the CLI's needs."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")])},
    )
    assert done.returncode == 0, done.stderr


WITHOUT = """
import importlib, sys
lacking = ("tensorflow keras openvino ai_edge_litert matplotlib sklearn PIL h5py tf2onnx onnxslim "
           "mlflow tensorboard scipy")
sys.modules.update(dict.fromkeys(lacking.split()))
from stages.engines import modules, registry
for name in registry.ENGINES:
    modules.load(name)
for name in ("stages.build stages.benchmark pipeline.cli pipeline.core.worker "
             "pipeline.report.html").split():
    importlib.import_module(name)
for name in "gpu gpu_day gpu_engine gpu_peers gpu_torch".split():
    importlib.import_module(name)
"""
