"""Which engine runs fastest here and is accurate enough: found by timing all of them.

Every engine that runs on this machine is timed with every thread count, in turns, at every
batch size asked for. An engine may lose `build.max_accuracy_drop` points of accuracy against
the float32 engine of the same network, on validation images, so that the test images stay
unseen. `choice.json` carries the result to the benchmark.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages import progress
from stages.artifacts.signature import Signature
from stages.engines import records
from stages.engines.base import Engine
from stages.engines.records import Entry
from stages.engines.registry import ENGINES, EngineName
from stages.errors import EngineError
from stages.measurement import clock
from stages.measurement.accuracy import batch_of, logits
from stages.measurement.throughput import usable_cores
from stages.numerics import latency
from stages.numerics.classification import top1
from stages.settings import Build

FILE = "choice.json"
WARMUP_SECONDS = 0.05

Row = dict[str, Any]
Pixels = NDArray[np.uint8]
Candidate = tuple[str, int]
"""An engine's name and its threads."""


def choose(
    entries: Sequence[Entry],
    folder: Path,
    images: Pixels,
    labels: NDArray[np.int64],
    settings: Build,
) -> dict[str, Any]:
    """Time the engines that ran here and choose one per batch size; writes `choice.json`.

    `images` uint8 (N, H, W, C) and `labels` int64 (N,) decide on accuracy. Returns
    `batch_sizes`, `max_accuracy_drop`, `table` (a row per engine, batch size and threads) and
    `chosen` (batch size -> engine, threads, and whether its row is stable and within budget).
    """
    sizes = Signature.read(folder).batch_sizes(settings.batch_sizes)
    with ExitStack() as opened:
        running = _open(entries, folder, settings, opened)
        engines = {name: engine for (name, _), engine in running.items()}
        largest = min(max(sizes), settings.max_batch_size)
        right = {
            name: top1(logits(engine, images, largest), labels) for name, engine in engines.items()
        }
        allowed = within_budget(right, len(labels), settings.max_accuracy_drop)
        table = [
            {**row, "top1": right[row["engine"]], "within_budget": row["engine"] in allowed}
            for size in sizes
            for row in _time(running, images, size, settings)
        ]
    chosen = {str(size): best for size in sizes if (best := fastest(table, size))}
    (folder / FILE).write_text(json.dumps(chosen, indent=2) + "\n")
    return {
        "batch_sizes": list(sizes),
        "max_accuracy_drop": settings.max_accuracy_drop,
        "validation_samples": len(labels),
        "table": table,
        "chosen": chosen,
    }


def read(folder: Path) -> dict[str, Any]:
    """What `choose` has chosen, by batch size as text; nothing where no engine ran."""
    file = folder / FILE
    return dict(json.loads(file.read_text())) if file.is_file() else {}


def within_budget(top1: Mapping[str, float], samples: int, max_drop: float) -> set[str]:
    """The engines that lose at most `max_drop` points against the best float32 engine.

    Without one, against the best of all. A single image may always be lost: on few images
    less than that cannot be told apart.
    """
    exact = [share for name, share in top1.items() if name.endswith(".fp32")]
    best = max(exact or top1.values(), default=0.0)
    allowed = max(1, int(max_drop / 100 * samples + 1e-6))
    return {name for name, share in top1.items() if round((best - share) * samples) <= allowed}


def fastest(table: Sequence[Row], batch_size: int) -> Row | None:
    """The choice for a batch size: of the rows within the budget, the fastest.

    A stable row counts with its median, another with the upper end of its interval, so that
    it is only chosen if it is faster even so. Where none is stable, load of other programs is
    in all of them: the lower ends are compared. Where no row is within the budget, the most
    accurate are.
    """
    rows = [row for row in table if row["batch_size"] == batch_size]
    if not rows:
        return None
    best = max(row["top1"] for row in rows)
    fitting = [row for row in rows if row["within_budget"]]
    fitting = fitting or [row for row in rows if row["top1"] == best]
    is_any_stable = any(row["stable"] for row in fitting)

    def counts(row: Row) -> float:
        if row["stable"]:
            return float(row["p50_ms"])
        return float(row["p50_high_ms"] if is_any_stable else row["p50_low_ms"])

    found = min(fitting, key=counts)
    return {key: found[key] for key in ("engine", "threads", "stable", "within_budget")}


def _open(
    entries: Sequence[Entry], folder: Path, settings: Build, opened: ExitStack
) -> dict[Candidate, Engine]:
    """Every engine that ran, with every thread count that fits; a GPU's have no threads."""
    signature = Signature.read(folder)
    fitting = [count for count in settings.threads if count <= usable_cores()] or [1]
    running: dict[Candidate, Engine] = {}
    for entry in entries:
        if entry.state != "ran":
            continue
        counts = fitting if ENGINES[entry.backend].device == "cpu" else fitting[:1]
        for threads in counts:
            try:
                engine = records.runner(entry, folder, signature, threads)
                running[entry.name, threads] = opened.enter_context(engine)
            except EngineError as error:
                progress.report(f"{entry.name} is no candidate: {error.message}")
    return running


def _time(
    running: Mapping[Candidate, Engine], images: Pixels, batch_size: int, settings: Build
) -> list[Row]:
    """Rows of all candidates that take such a batch, timed in turns."""
    calls = {}
    for (name, threads), engine in running.items():
        on_gpu = ENGINES[EngineName.parse(name).backend].device == "gpu"
        if not (on_gpu and batch_size > settings.max_batch_size):
            batch = batch_of(images, engine.signature, batch_size)
            calls[f"{name} {threads}"] = partial(engine.infer, batch)
    progress.report(f"choose for batch {batch_size} among {len(calls)}")
    windows = clock.until_stable(calls, WARMUP_SECONDS, settings.seconds)
    return [
        {
            "engine": name,
            "batch_size": batch_size,
            "threads": threads,
            "p50_ms": float(np.median(np.concatenate(windows[f"{name} {threads}"]))),
            **latency.certainty([float(np.median(each)) for each in windows[f"{name} {threads}"]]),
        }
        for name, threads in running
        if f"{name} {threads}" in windows
    ]
