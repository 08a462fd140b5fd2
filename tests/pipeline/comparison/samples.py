"""Runs to compare: the sample records, with windows, as the stages write them."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.comparison import Run
from pipeline.results.summary import summarize
from tests.pipeline.edits import edited
from tests.pipeline.records import records, report_of


def windows(p50_ms: float, seed: int, spread: float = 0.01) -> list[float]:
    """Medians of ten windows around p50."""
    noise = np.random.default_rng(seed).normal(0, spread, 10)
    return [float(value) for value in p50_ms * np.exp(noise - np.median(noise))]


def measured(**speeds: float) -> dict[str, Any]:
    """The sample records with windows; `litert_int8=0.9` makes that engine take 0.9 of the time."""
    found = records()
    benchmark = found["benchmark"]["measurements"]
    by_name = {"baseline": benchmark["details"]["baseline"]}
    by_name |= {f"{each['backend']}_{each['precision']}": each for each in benchmark["engines"]}
    for seed, (name, engine) in enumerate(by_name.items()):
        for row in engine["latency"]:
            row["p50_ms"] *= speeds.get(name, 1.0)
            row["window_p50_ms"] = windows(row["p50_ms"], seed + 10 * len(speeds))
    return found


def run(name: str = "a", predictions: Any = None, **speeds: float) -> Run:
    """A run of `measured`."""
    return Run(name, summarize(report_of(measured(**speeds))), predictions or {})


def altered(found: Run, *path: str | int, to: Any) -> Run:
    """The run with one value of its summary replaced."""
    return replace(found, summary=edited(found.summary, *path, to=to))


def unlike(found: Run, *names: str) -> Run:
    """The run of another network, with other files of these engines, of all if none is named."""
    for name in names or found.summary.engines:
        found = altered(found, "engines", name, "sha256", to="0" * 64)
    return altered(found, "stages", "train", "parameters", to=421_643)


def store(
    folder: Path, found: Mapping[str, Any], arrays: Mapping[str, Mapping[str, Any]] | None = None
) -> Path:
    """Write the records, and `arrays` as files of the benchmark, as an artifact folder."""
    for stage, record in found.items():
        (folder / stage).mkdir(parents=True)
        if stage == "benchmark":
            record["files"] = {}
            for name, content in (arrays or {}).items():
                buffer = io.BytesIO()
                np.savez(buffer, **content)  # type: ignore[arg-type]
                (folder / stage / name).write_bytes(buffer.getvalue())
                digest = hashlib.sha256(buffer.getvalue()).hexdigest()
                size = len(buffer.getvalue())
                record["files"][name] = {"sha256": digest, "size_bytes": size}
        (folder / stage / "record.json").write_text(json.dumps(record))
    return folder
