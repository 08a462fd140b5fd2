"""Where a run is found: an artifact folder, a report.json, or an id of the history."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.plan import PLAN, Plan
from pipeline.core.store import Record, Store
from pipeline.results import history
from pipeline.results.assemble import assemble
from pipeline.results.summary import BASELINE, Summary, summarize
from stages.errors import ArtifactError
from stages.numerics.medians import of_blocks

REPORT = "report.json"
SAMPLES = "latency.npz"
PREDICTIONS = "predictions.npz"
LABELS = "labels"
BLOCKS = 10

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Run:
    """A run as it is compared: `name` is what the user called it.

    `predictions` are the classes that each engine named, int (N,), and the "labels" of the
    same test images: there for artifact folders only.
    """

    name: str
    summary: Summary
    predictions: Arrays = field(default_factory=dict)


def find(word: str, artifacts: Path, plan: Plan = PLAN) -> Run:
    """The run that `word` means: a folder, a file, or else an id in the history of `artifacts`.

    Raises ArtifactError where there is none, or one that cannot be read.
    """
    path = Path(word)
    if path.is_dir():
        return _of_folder(word, path, plan)
    if path.is_file():
        return Run(word, summarize(_read_report(path)))
    return Run(word, history.find(artifacts, word))


def _of_folder(word: str, folder: Path, plan: Plan) -> Run:
    store = Store(folder)
    records, faults = store.read_all(stage.name for stage in plan)
    if faults:
        raise ArtifactError(faults[0], "run it again, or compare its report.json")
    if not records and (folder / REPORT).is_file():
        return Run(word, summarize(_read_report(folder / REPORT)))
    if not records:
        raise ArtifactError(
            f"no run in the folder {word!r}: expected artifacts or a {REPORT}",
            f"run: pipeline run all --artifacts {word}",
        )
    summary = summarize(assemble(records, {}))
    benchmark = records.get("benchmark")
    if benchmark is None:
        return Run(word, summary)
    _add_windows(summary, _arrays(store, benchmark, SAMPLES))
    return Run(word, summary, _arrays(store, benchmark, PREDICTIONS))


def _read_report(file: Path) -> dict[str, Any]:
    """Raises ArtifactError for what is no report."""
    try:
        report = json.loads(file.read_text(encoding="utf-8"))
        is_report = isinstance(report, dict) and report.get("schema_version") == 1
        if not is_report or not isinstance(report.get("stages"), list):
            raise ValueError("it is not what `pipeline report --format json` writes")
        summarize(report)
    except OSError as error:
        raise ArtifactError(f"cannot read {str(file)!r}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise ArtifactError(
            f"{str(file)!r} is no report of a run: {what}",
            "expected an artifact folder, its report.json, or an id of `pipeline history`",
        ) from error
    found: dict[str, Any] = report
    return found


def _arrays(store: Store, record: Record, name: str) -> dict[str, NDArray[Any]]:
    """What is in a file of the benchmark; nothing if it is gone or not what was recorded."""
    if name not in record["files"] or store.damage("benchmark", record):
        return {}
    try:
        with (store.folder("benchmark") / name).open("rb") as file, np.load(file) as loaded:
            return {key: loaded[key] for key in loaded.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return {}


def _add_windows(summary: Summary, samples: Arrays) -> None:
    """Medians of blocks of single calls, for rows that lack the medians of their windows."""
    for name, engine in summary["engines"].items():
        key = f"{BASELINE}.onnxruntime.fp32" if name == BASELINE else name
        for row in engine["latency"]:
            taken = samples.get(f"{key}.b{row['batch_size']}.t{row.get('threads')}")
            if "window_p50_ms" not in row and taken is not None:
                row["window_p50_ms"] = of_blocks(taken, BLOCKS)
