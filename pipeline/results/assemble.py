"""Joins the records of the stages into one report; measures and computes nothing itself.

Where a number in the report comes from:

    stages[i].model, accuracy, latency    record of that stage
    + rows measured_in "benchmark"        train: the baseline; prune, quantize: the ONNX Runtime
                                          engines, all timed in turns in one benchmark
    stages[i].details                     record of that stage, whatever it measured
    engines[i]                            record of benchmark; of build where there is none
    baseline                              file: record of build; the rest: record of benchmark
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pipeline.core.record import FileEntry, Record
from pipeline.results import comparability
from pipeline.results.model import Baseline, EngineReport, Report, ReportRow, StageReport
from pipeline.results.verdict import verdict
from stages.engines.files import of_engine
from stages.errors import ArtifactError
from stages.results.base import LatencyRow, ModelFacts, Quality, StageResult
from stages.results.conversion import ConvertResult
from stages.results.engines import BenchmarkResult, BuildResult, EngineTimings
from stages.results.machine import MachineFacts
from stages.results.training import DatasetCounts, TrainResult

BASELINE_FILE = "baseline."
"""How the file of the trained, unpruned model begins, among those of build."""

Result = TypeVar("Result", bound=StageResult)
Records = Mapping[str, Record]


def assemble(records: Records, states: Mapping[str, str]) -> Report:
    """The report of the records, which are by stage, in the order of the line.

    `states` says "ran" or "cached" of the stages that were selected, the others count as cached.
    Raises ArtifactError if there is no record at all.
    """
    if not records:
        raise ArtifactError("nothing to report: no stage has run yet", "run: pipeline run all")
    outdated = _outdated(records)
    baseline, engines = _baseline(records), _engines(records)
    train = _measured(records, TrainResult)
    stages = [
        _stage(name, records, states.get(name, "cached"), name in outdated) for name in records
    ]
    if "benchmark" in records and "benchmark" not in outdated:
        stages = [_with_rows(stage, baseline, engines) for stage in stages]
    report = Report(
        environment=MachineFacts.model_validate(list(records.values())[-1].environment),
        dataset=train.dataset if train else _dataset(records),
        stages=tuple(stages),
        baseline=baseline,
        engines=tuple(engines),
    )
    return report.model_copy(update={"verdict": tuple(verdict(report))})


def _dataset(records: Records) -> DatasetCounts:
    """What is known of it where `train` has not run: its name, and what `convert` carried of it."""
    names = [name for record in records.values() if (name := record.setting("data.name"))]
    convert = _measured(records, ConvertResult)
    carried = convert.details.carried if convert else None
    return DatasetCounts(
        name=next(iter(names), None), test_samples=carried.test_samples if carried else None
    )


def _stage(name: str, records: Records, state: str, is_outdated: bool) -> StageReport:
    record = records[name]
    measured = record.measurements
    return StageReport(
        stage=name,
        state="ran" if state == "ran" else "cached",
        outdated=is_outdated,
        seconds=record.seconds,
        notes=measured.notes,
        model=_with_file(measured.model, record, records),
        accuracy=measured.accuracy or Quality(),
        latency=_rows(measured.latency, name),
        details=measured.details,
        key=record.key,
        revision=record.revision,
        started_at=record.started_at,
        settings=record.settings,
        environment=MachineFacts.model_validate(record.environment),
    )


def _with_file(model: ModelFacts, record: Record, records: Records) -> ModelFacts:
    """With hash and size of its file: the stage's own, or of a stage that it reads."""
    owners = [record, *(records[need] for need in record.inputs if need in records)]
    for owner in owners:
        if model.file in owner.files:
            return model.model_copy(update=_entry(model.file, owner.files))
    return model


def _entry(file: str, files: Mapping[str, FileEntry]) -> dict[str, Any]:
    """Hash of a file, and its size with those that an engine is exported with."""
    size = sum(files[name].size_bytes for name in of_engine(file, files))
    return {**dict(files[file]), "size_bytes": size}


def _rows(rows: Iterable[LatencyRow], measured_in: str) -> tuple[ReportRow, ...]:
    return tuple(ReportRow(**dict(row), measured_in=measured_in) for row in rows)


def _engines(records: Records) -> list[EngineReport]:
    build, benchmark = _measured(records, BuildResult), _measured(records, BenchmarkResult)
    if benchmark and benchmark.engines and not _has_changed("build", "benchmark", records):
        source, found = "benchmark", benchmark.engines
    else:
        source, found = "build", build.engines if build else ()
    files = records["build"].files if "build" in records else {}
    return [
        EngineReport.model_validate(
            {
                **dict(engine),
                **(_entry(engine.file, files) if engine.file in files else {}),
                "measured_in": source,
                "accuracy": engine.accuracy or Quality(),
                "latency": _rows(engine.latency, source),
            }
        )
        for engine in found
    ]


def _baseline(records: Records) -> Baseline:
    """The trained, unpruned float32 model in ONNX Runtime: what every speed-up is against."""
    files = records["build"].files if "build" in records else {}
    file = next((name for name in files if name.startswith(BASELINE_FILE)), None)
    benchmark = _measured(records, BenchmarkResult)
    timed = None
    if benchmark and not _has_changed("build", "benchmark", records):
        timed = benchmark.details.baseline
    timed = timed or EngineTimings()
    return Baseline(
        file=file,
        **(dict(files[file]) if file else {}),
        accuracy=timed.accuracy or Quality(),
        latency=_rows(timed.latency, "benchmark"),
    )


def _with_rows(
    stage: StageReport, baseline: Baseline, engines: Iterable[EngineReport]
) -> StageReport:
    """train, prune and quantize with the rows of their own model in ONNX Runtime."""
    wanted = comparability.STAGE_ENGINES.get(stage.stage)
    of_stage = next((engine for engine in engines if engine.name == wanted), None)
    shown = baseline if stage.stage == "train" else of_stage
    rows = [row for row in shown.latency if row.measured_in == "benchmark"] if shown else []
    return stage.model_copy(update={"latency": (*stage.latency, *rows)})


def _outdated(records: Records) -> set[str]:
    """Stages made from files that have changed since, directly or through another stage."""
    found: set[str] = set()
    for name, record in records.items():
        if any(each in found or _has_changed(each, name, records) for each in record.inputs):
            found.add(name)
    return found


def _has_changed(needed: str, by: str, records: Records) -> bool:
    """Whether `by` has read other files of `needed` than those recorded now."""
    if needed not in records or by not in records:
        return False
    read, now = records[by].inputs.get(needed, {}), records[needed].hashes()
    return any(now.get(file) != sha256 for file, sha256 in read.items())


def _measured(records: Records, kind: type[Result]) -> Result | None:
    """What the stage with this kind of result measured, None without its record."""
    for record in records.values():
        if isinstance(record.measurements, kind):
            return record.measurements
    return None
