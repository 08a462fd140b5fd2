"""What INT8 costs in every task: a line of each on images drawn by arithmetic.

    python benchmarks/tasks.py [--out FOLDER] [--seed N] [TASK ...]

Dim noise with a disc, a square, both or none, in random colours: is there a disc (binary), what is
there (multi-label), where is the disc and how large (regression), which pixel is what
(segmentation). Ends with a table in Markdown: the trained model, and the float and INT8 engines of
the pruned one, in the runtime whose INT8 engine is the fastest.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

SIZE = 32
TRAIN, TEST = 3000, 1000
NETWORKS = {
    "binary": ("resnet8", 12),
    "multilabel": ("resnet8", 12),
    "regression": ("resnet8", 24),
    "segmentation": ("unet", 16),
}
"""Task -> network and epochs."""
COLUMNS = (
    *("task", "network", "metric", "trained", "pruned, float", "INT8", "INT8 / float"),
    *("engine", "p50 ms, trained", "p50 ms", "size", "TensorRT-RTX"),
)


def drawn(count: int, seed: int) -> tuple[Any, dict[str, Any]]:
    """Images uint8 (N, SIZE, SIZE, 3) and the targets of every task."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 90, (count, SIZE, SIZE, 3))
    masks = np.zeros((count, SIZE, SIZE), np.uint8)
    there = random.random((count, 2)) < 0.6
    discs = np.zeros((count, 3), np.float32)
    y, x = np.mgrid[:SIZE, :SIZE]
    for at in range(count):
        for kind in np.flatnonzero(there[at]):
            (across, down), size = random.integers(7, SIZE - 7, 2), random.integers(3, 7)
            shape = np.maximum(abs(x - across), abs(y - down)) < size
            if kind == 0:
                shape = (x - across) ** 2 + (y - down) ** 2 <= size**2
                discs[at] = across, down, size
            masks[at][shape] = kind + 1
            images[at][shape] = random.integers(60, 256, 3) + random.integers(-20, 20, 3)
    images = np.clip(images, 0, 255).astype(np.uint8)
    return images, {
        "binary": there[:, 0].astype(np.int64),
        "multilabel": there.astype(np.uint8),
        "regression": discs,
        "segmentation": masks,
    }


def write(task: str, folder: Path, seed: int) -> Path:
    """The data set of a task; numbers of discs only where there is one."""
    (images, targets), (others, wanted) = drawn(TRAIN, seed), drawn(TEST, seed + 1000)
    parts = [(images, targets), (others, wanted)]
    if task == "regression":
        seen = [each["binary"] == 1 for _, each in parts]
    else:
        seen = [slice(None), slice(None)]
    arrays = {
        f"{name}_{part}": values[where]
        for part, (pixels, each), where in zip(("train", "test"), parts, seen, strict=True)
        for name, values in (("x", pixels), ("y", each[task]))
    }
    file = folder / f"{task}.npz"
    np.savez_compressed(file, **arrays)
    return file


def run(task: str, folder: Path, seed: int) -> dict[str, Any]:
    """The report of a whole line. Raises CalledProcessError."""
    network, epochs = NETWORKS[task]
    artifacts = folder / task
    settings = {
        "data.name": "npz",
        "data.path": write(task, folder, seed),
        "model.name": network,
        "model.task": task,
        "train.epochs": epochs,
        "train.seed": seed,
    }
    words = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    # Where an object is must not be moved under its target.
    words += ["--set", "data.shift_pixels=0"] if task == "regression" else []
    line = [sys.executable, "-m", "pipeline", "run", "all", "--artifacts", str(artifacts), *words]
    subprocess.run(line, check=True)
    found: dict[str, Any] = json.loads((artifacts / "report.json").read_text())
    return found


def score(accuracy: dict[str, Any]) -> float:
    """What decides."""
    return float(accuracy["measures"][accuracy["metric"]])


def cells(task: str, report: dict[str, Any]) -> Iterator[str]:
    """A row of the table."""
    engines = {(each["backend"], each["precision"]): each for each in report["engines"]}
    timed = [each for each in report["engines"] if each["state"] == "ran"]
    best = min(
        (each for each in timed if each["precision"] == "int8"),
        key=lambda each: each["latency"][0]["p50_ms"],
    )
    trained, same = report["stages"][0], engines[best["backend"], "fp32"]
    built = [
        precision
        for (backend, precision), each in engines.items()
        if backend == "tensorrt_rtx" and each["state"] != "unavailable"
    ]
    yield from (task, NETWORKS[task][0], trained["accuracy"]["metric"])
    yield from (f"{100 * score(each['accuracy']):.2f} %" for each in (trained, same, best))
    yield f"{score(best['accuracy']) / score(same['accuracy']):.4f}"
    yield f"{best['backend']} int8"
    yield f"{report['baseline']['latency'][0]['p50_ms']:.4f}"
    yield f"{best['latency'][0]['p50_ms']:.4f}"
    yield f"{best['size_bytes'] / 1000:.1f} kB"
    yield ", ".join(built) or "not installed"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("tasks", nargs="*", default=list(NETWORKS), metavar="TASK")
    parser.add_argument("--out", type=Path, default=Path("artifacts/tasks"))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rows = [list(cells(task, run(task, options.out, options.seed))) for task in options.tasks]
    for row in (COLUMNS, ["---"] * len(COLUMNS), *rows):
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
