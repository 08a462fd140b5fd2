"""Where a run is found: an artifact folder, a report.json, or an id of the history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from pipeline.core.plan import PLAN, Plan
from pipeline.core.record import Record
from pipeline.core.store import Store
from pipeline.results import evidence, history, model
from pipeline.results.assemble import assemble
from pipeline.results.model import BENCHMARK, Report
from pipeline.results.summary import BASELINE, EngineSummary, Summary, TimedRow, summarize
from stages.errors import ArtifactError
from stages.numerics.medians import of_blocks

REPORT = "report.json"
SAMPLES = "latency.npz"
PREDICTIONS = "predictions.npz"
LABELS, IMAGES = "labels", "images"
BLOCKS = 10

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Run:
    """A run as it is compared: `name` is what the user called it.

    `predictions` are the classes that each engine predicted, int (N,), the "labels" of the same
    test images, and the SHA-256 of these "images": there for artifact folders only.
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
        return Run(word, summarize(_read_report(path, plan)))
    return Run(word, history.find(artifacts, word))


def _of_folder(word: str, folder: Path, plan: Plan) -> Run:
    store = Store(folder, plan)
    records, faults = store.read_all(stage.name for stage in plan)
    if faults:
        raise ArtifactError(faults[0], "run it again, or compare its report.json")
    if not records and (folder / REPORT).is_file():
        return Run(word, summarize(_read_report(folder / REPORT, plan)))
    if not records:
        raise ArtifactError(
            f"no run in the folder {word!r}: expected artifacts or a {REPORT}",
            f"run: pipeline run all --artifacts {word}",
        )
    summary = summarize(assemble(records, {}))
    benchmark = records.get(BENCHMARK)
    if benchmark is None:
        return Run(word, summary)
    summary = _with_windows(summary, _arrays(store, benchmark, SAMPLES))
    return Run(word, summary, _arrays(store, benchmark, PREDICTIONS))


def _read_report(file: Path, plan: Plan) -> Report:
    """Raises ArtifactError for what is no report."""
    try:
        return model.read(file.read_bytes(), plan)
    except OSError as error:
        raise ArtifactError(f"cannot read {str(file)!r}: {error.strerror}") from error
    except ValueError as error:
        raise ArtifactError(
            f"{str(file)!r} is no report of a run: {error}",
            "expected an artifact folder, its report.json, or an id of `pipeline history`",
        ) from error


def _arrays(store: Store, benchmark: Record, name: str) -> Arrays:
    """What is in a file of the benchmark; nothing if it is gone or not what was recorded."""
    if name not in benchmark.files or store.damage(BENCHMARK, benchmark):
        return {}
    try:
        return evidence.load(store.folder(BENCHMARK) / name)
    except ArtifactError:
        return {}


def _with_windows(summary: Summary, samples: Arrays) -> Summary:
    """With medians of blocks of single calls, for rows that lack the medians of their windows."""

    def with_windows(row: TimedRow, engine: str) -> TimedRow:
        calls = samples.get(f"{engine}.b{row.batch_size}.t{row.threads}")
        if row.window_p50_ms is not None or calls is None:
            return row
        return row.model_copy(update={"window_p50_ms": tuple(of_blocks(calls, BLOCKS))})

    def complete(name: str, engine: EngineSummary) -> EngineSummary:
        key = f"{BASELINE}.onnxruntime.fp32" if name == BASELINE else name
        rows = tuple(with_windows(row, key) for row in engine.latency)
        return engine.model_copy(update={"latency": rows})

    engines = {name: complete(name, engine) for name, engine in summary.engines.items()}
    return summary.model_copy(update={"engines": engines})
