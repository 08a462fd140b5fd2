"""Logs a run to MLflow, an extra: parameters, metrics, the report files.

    params     every setting, as in "prune.ratio"
    metrics    "<stage>.top1", "<stage>.parameters", ..., "<stage>.<metric>" per epoch;
               "<engine>.top1", "<engine>.b<batch>.t<threads>.p50_ms", ...; "chosen.p50_ms", ...;
               of other tasks all of Quality.measures instead of top1, as in "<engine>.r2"
    tags       engine, data set, model, versions, machine
    artifacts  report.json, report.md, report.html

MLflow is imported by `log` alone: it takes seconds.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline.results import units
from pipeline.results.model import Report
from pipeline.results.summary import BASELINE, Summary
from stages.errors import ReportError, SettingsError, redacted
from stages.errors.packages import install
from stages.results.base import Measured
from stages.results.training import TrainingDetails

EXPERIMENT = "keras-trt-pipeline"
EXPERIMENT_VARIABLE = "MLFLOW_EXPERIMENT_NAME"

ENVIRONMENT = {
    # MLflow 3 refuses its own file store unless told that it is meant.
    "MLFLOW_ALLOW_FILE_STORE": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # Seven retries, the default, are minutes of waiting for a server that is not there.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
}
"""Set for MLflow where the user has not."""

BATCH = 100
"""Most parameters that one request may hold."""

DATABASES = ("sqlite", "mysql", "mssql", "postgresql")
NUMBERS = ("top1", "parameters", "multiply_adds", "size_bytes")
TIMINGS = ("p50_ms", "p50_low_ms", "p50_high_ms", "images_per_second")
MESSAGE_CHARACTERS = 200

Point = tuple[str, float, int]
"""A metric's name, value and step."""


def require() -> None:
    """Raise SettingsError without MLflow: before a run, not after its hours of training."""
    if importlib.util.find_spec("mlflow") is None:
        raise SettingsError(
            "report.mlflow is set, and the package mlflow is not installed",
            f"{install(['mlflow-skinny'])}, or leave report.mlflow out",
        )


def log(
    uri: str, report: Report, summary: Summary, files: Sequence[Path], name: str | None = None
) -> str:
    """Log a run under `name` to the tracking server, or file store, at `uri`; return MLflow's id.

    The experiment is "keras-trt-pipeline", or what MLFLOW_EXPERIMENT_NAME says. Raises ReportError
    if it cannot be logged.
    """
    for variable, value in ENVIRONMENT.items():
        os.environ.setdefault(variable, value)
    try:
        return _log(uri, report, summary, files, name)
    except Exception as error:  # Stores raise what their drivers raise.
        # Masked before it is cut: half an address could show the password of it.
        what = redacted(" ".join(str(error).split()))[:MESSAGE_CHARACTERS] or type(error).__name__
        message = f"cannot log to MLflow at {uri!r}: {what}"
        raise ReportError(message, _hint(uri)) from error


def _hint(uri: str) -> str:
    needs = "a database needs the whole package: pip install mlflow\n"
    again = f"the run itself is complete; again: pipeline run report --set 'report.mlflow={uri}'"
    return needs + again if uri.startswith(DATABASES) else again


def _log(
    uri: str, report: Report, summary: Summary, files: Sequence[Path], name: str | None
) -> str:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    run = client.create_run(_experiment(client), run_name=name, tags=dict(tags(summary)))
    id = str(run.info.run_id)
    try:
        _fill(client, id, report, summary)
        for file in files:
            client.log_artifact(id, str(file))
    except Exception:
        with contextlib.suppress(Exception):  # The first error tells more.
            client.set_terminated(id, "FAILED")
        raise
    client.set_terminated(id)
    return id


def _fill(client: Any, id: str, report: Report, summary: Summary) -> None:
    from mlflow.entities import Metric, Param

    now = round(1000 * time.time())
    params = [Param(key, value) for key, value in units.spelled(summary.settings).items()]
    points = [Metric(key, value, now, step) for key, value, step in metrics(report, summary)]
    for start in range(0, len(params), BATCH):
        client.log_batch(id, params=params[start : start + BATCH])
    for start in range(0, len(points), BATCH):
        client.log_batch(id, metrics=points[start : start + BATCH])


def _experiment(client: Any) -> str:
    name = os.environ.get(EXPERIMENT_VARIABLE, EXPERIMENT)
    found = client.get_experiment_by_name(name)
    return str(found.experiment_id if found else client.create_experiment(name))


def tags(summary: Summary) -> Iterator[tuple[str, str]]:
    """What describes the run and is no number."""
    known = summary.model_dump(include={"dataset", "model", "engine", "settings_hash"})
    yield from ((key, value) for key, value in known.items() if value)
    yield from units.spelled(summary.environment.model_dump()).items()
    yield from ((f"gates.{gate.gate}", gate.state) for gate in summary.gates)


def metrics(report: Report, summary: Summary) -> Iterator[Point]:
    """Every number of the stages, the engines and the chosen engine; epochs are steps."""
    for name, model in summary.stages.items():
        yield from _numbers(name, model, NUMBERS)
    for stage in report.stages:
        if not stage.outdated:
            yield from _numbers(stage.stage, stage, ("seconds",))
            if isinstance(stage.details, TrainingDetails):
                for epoch in stage.details.history:
                    numbers = [key for key in type(epoch).model_fields if key != "epoch"]
                    yield from _numbers(stage.stage, epoch, numbers, epoch.epoch)
    for name, engine in summary.engines.items():
        yield from _numbers(name, engine, NUMBERS)
        for row in engine.latency:
            threads = 1 if row.threads is None else row.threads
            yield from _numbers(f"{name}.b{row.batch_size}.t{threads}", row, TIMINGS)
    yield from _measures(report, summary)
    yield from _numbers("chosen", summary.chosen, NUMBERS)
    yield from _numbers("chosen", summary.chosen_row, TIMINGS)


def _measures(report: Report, summary: Summary) -> Iterator[Point]:
    """What other tasks than classification are judged by."""
    found = {
        **{stage.stage: stage.accuracy for stage in report.stages},
        **{str(engine.name): engine.accuracy for engine in report.engines},
        BASELINE: report.baseline.accuracy,
    }
    named = {name: name for name in (*summary.stages, *summary.engines)}
    for name, source in {**named, "chosen": summary.engine}.items():
        if source:
            measures = found[source].measures or {}
            yield from ((f"{name}.{key}", number, 0) for key, number in measures.items())


def _numbers(
    where: str, measured: Measured | None, keys: Sequence[str], step: int = 0
) -> Iterator[Point]:
    for key, value in measured or ():
        if key in keys and isinstance(value, (int, float)):
            yield f"{where}.{key}", float(value), step
