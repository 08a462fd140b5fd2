"""TensorRT engines on this machine's GPU, beside a bare CUDA-graph replay of the same engines.

    python benchmarks/gpu.py CONVERT [--backends tensorrt] [--precisions fp16 int8]
                             [--batch-sizes 1 8 64] [--seconds 3] [--minutes 10] [--rows FILE]

CONVERT is what the convert stage leaves, artifacts/convert. For every precision and batch size
an engine is built for just that batch, checked against Keras, and timed in turns with the bare
replay: a loop that launches the engine's CUDA graph (copy in, compute, copy out) and waits. Every
engine has a child process and a time limit; what is known of it is added to FILE at once, and what
FILE holds already is not measured again. Prints a Markdown table and what it was measured on.
Needs no TensorFlow.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gpu_rows
from gpu_engine import AGAIN

from stages.engines import environment, registry
from stages.engines.registry import ENGINES, EngineName
from stages.measurement import machine_state

CHILD = Path(__file__).with_name("gpu_engine.py")
KEYS = ("engine", "batch")
UNFINISHED = 75
"""The exit code where the minutes were too few."""

COLUMNS: dict[str, str] = {
    **{"engine": "engine", "batch": "batch", "build s": "build_s"},
    **{"p50 ms": "infer_p50_ms", "p99 ms": "infer_p99_ms", "bare replay ms": "bare_p50_ms"},
    **{"ratio": "infer_by_bare", "C++ replay ms": "cpp_replay_p50_ms"},
    **{"H2D ms": "h2d_ms", "compute ms": "compute_ms", "D2H ms": "d2h_ms"},
    **{
        "empty graph ms": "empty_graph_ms",
        "no copies ms": "resident_ms",
        "spin ms": "spin_p50_ms",
        "block ms": "block_p50_ms",
    },
    **{"mapped ms": "mapped_p50_ms"},
    **{"kernel sum ms": "kernel_sum_ms", "moves": "moves_share"},
    **{"enqueue ms": "enqueue_ms", "kernels": "kernels"},
    **{"images/s": "images_per_second", "1 stream": "images_per_second_s1"},
    **{"4 streams": "images_per_second_s4"},
    **{"mJ/image": "millijoules_per_image", "GPU MiB": "gpu_mib"},
    **{
        "trtexec ms": "trtexec_p50_ms",
        "top-1": "top1",
        "of samples": "samples_top1",
        "Keras": "keras_samples_top1",
    },
    **{"parity": "parity", "stable": "stable"},
}
"""Heading -> key of a row."""


def is_known(row: dict[str, Any]) -> bool:
    """Whether there is nothing more to find out."""
    return "done" in row or "reason" in row


def missing(rows: Path, engine: EngineName, batch_sizes: list[int]) -> list[int]:
    """Batch sizes of which `rows` does not know everything yet."""
    known = {(row["engine"], row["batch"]) for row in gpu_rows.read(rows, *KEYS) if is_known(row)}
    return [size for size in batch_sizes if (str(engine), size) not in known]


def measure(
    engine: EngineName, rows: Path, options: Any, seconds_left: Callable[[], float]
) -> None:
    """Fill `rows` with every batch size of one engine, in as many children as that takes."""
    while (sizes := missing(rows, engine, options.batch_sizes)) and seconds_left() > 0:
        words = [sys.executable, CHILD, options.convert, engine, rows]
        words += ["--batch-sizes", *sizes, "--seconds", options.seconds]
        words += ["--optimization-level", options.optimization_level]
        limit = min(options.limit, seconds_left())
        failed = gpu_rows.run(words, limit, rows.with_suffix(".log"))
        left = missing(rows, engine, options.batch_sizes)
        cut_short = failed.startswith(gpu_rows.STOPPED) and limit < options.limit
        if failed and left and not cut_short and not failed.startswith(f"ended with {AGAIN}:"):
            gpu_rows.append(rows, {"engine": str(engine), "batch": left[0], "reason": failed})


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    for row in rows:
        lines.append("| " + " | ".join(cell(row.get(key)) for key in COLUMNS.values()) + " |")
    return "\n".join(lines)


def cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        return "passed" if value["passed"] else "FAILED"
    if isinstance(value, bool):
        return "yes" if value else "UNSTABLE"
    if isinstance(value, float):
        return f"{value:.0f}" if value >= 1000 else f"{value:.4f}"
    return str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("convert", type=Path, help="folder that the convert stage leaves")
    gpu = [name for name, row in registry.ENGINES.items() if row.device == "gpu"]
    parser.add_argument("--backends", nargs="+", choices=gpu, default=gpu)
    parser.add_argument("--precisions", nargs="+", default=["fp32", "fp16", "int8"])
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[1, 8, 64])
    parser.add_argument("--seconds", type=float, default=3.0, help="of timing per engine")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds per child process")
    parser.add_argument("--minutes", type=float, default=60.0, help="after which none is started")
    parser.add_argument("--optimization-level", type=int, default=3)
    parser.add_argument("--rows", type=Path, help="file for all that is measured, line by line")
    options = parser.parse_args()
    before, end = machine_state.gpus(), time.monotonic() + 60 * options.minutes
    sizes, wanted = options.batch_sizes, itertools.product(options.precisions, options.backends)
    names = [
        EngineName(backend, each) for each, backend in wanted if each in ENGINES[backend].precisions
    ]
    with tempfile.TemporaryDirectory() as folder:
        rows = options.rows or Path(folder) / "rows.jsonl"
        for name in names:
            measure(name, rows, options, lambda: end - time.monotonic())
        found = gpu_rows.read(rows, *KEYS)
        left = [f"{name} b{size}" for name in names for size in missing(rows, name, sizes)]
    print(table([row for row in found if "infer_p50_ms" in row]))
    for row in found:
        if "reason" in row:
            print(f"{row['engine']} b{row['batch']}: {row['reason']}", file=sys.stderr)
    machine = environment.describe().model_dump(mode="json")
    gpus = {"before": before, "after": machine_state.gpus()}
    print("\n" + json.dumps({"command": " ".join(sys.argv), "machine": machine, "gpus": gpus}))
    measured = sum("infer_p50_ms" in row for row in found)
    print(f"{measured} of {len(names) * len(sizes)} engines measured")
    if left:
        print(f"no minutes were left for: {', '.join(left)}")
        sys.exit(UNFINISHED)
    if not measured:
        sys.exit(1)


if __name__ == "__main__":
    main()
