from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.integrations import mlflow
from pipeline.results.model import Report
from pipeline.results.summary import GateSummary, summarize
from stages.errors import ReportError, SettingsError
from tests.pipeline.records import records, report_of


def logged(uri: str) -> list[dict[str, Any]]:
    """What MLflow says is at `uri`."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    return [
        {
            "experiment": experiment.name,
            "id": run.info.run_id,
            "name": run.info.run_name,
            "status": run.info.status,
            "params": run.data.params,
            "metrics": run.data.metrics,
            "tags": run.data.tags,
            "files": sorted(file.path for file in client.list_artifacts(run.info.run_id)),
            "loss": [
                (point.step, point.value)
                for point in client.get_metric_history(run.info.run_id, "train.loss")
            ],
        }
        for experiment in client.search_experiments()
        for run in client.search_runs([experiment.experiment_id])
    ]


def report(**details: Any) -> Report:
    found = records()
    found["train"]["measurements"]["details"] = details
    return report_of(found)


@pytest.fixture(autouse=True)
def quiet_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets `log` set MLflow's variables for its test only."""
    for variable in (*mlflow.ENVIRONMENT, mlflow.EXPERIMENT_VARIABLE):
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)


def test_a_run_is_logged_to_a_file_store_with_settings_numbers_and_files(tmp_path: Path) -> None:
    history = [{"epoch": 1, "loss": 0.5, "seconds": None}, {"epoch": 2, "loss": 0.25}]
    found = report(history=history)
    files = [tmp_path / name for name in ("report.html", "report.json", "report.md")]
    for file in files:
        file.write_text("x")
    uri = f"file://{tmp_path}/store with blank ä"
    id = mlflow.log(uri, found, summarize(found), files, "3f9c2a51")
    (run,) = logged(uri)
    assert (run["id"], run["name"], run["status"]) == (id, "3f9c2a51", "FINISHED")
    assert run["experiment"] == "keras-trt-pipeline"
    assert run["params"]["prune.ratio"] == "0.5"
    assert run["metrics"]["train.top1"] == 357 / 360
    assert run["metrics"]["litert.int8.b1.t1.p50_ms"] == 0.008
    assert run["metrics"]["chosen.p50_ms"] == 0.008
    assert run["metrics"]["baseline.size_bytes"] == 1_687_000
    assert run["loss"] == [(1, 0.5), (2, 0.25)]
    assert (run["tags"]["engine"], run["tags"]["cpu.model"]) == ("litert.int8", "Sample CPU")
    assert run["files"] == [file.name for file in files]


def test_the_experiment_may_be_named_in_mlflows_own_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(mlflow.EXPERIMENT_VARIABLE, "mine")
    found = report()
    for _ in range(2):
        mlflow.log(str(tmp_path / "store"), found, summarize(found), [])
    assert [run["experiment"] for run in logged(str(tmp_path / "store"))] == ["mine", "mine"]


def test_a_run_that_cannot_be_logged_whole_is_marked_as_failed(tmp_path: Path) -> None:
    found, uri = report(), f"file://{tmp_path}/store"
    with pytest.raises(ReportError, match="cannot log to MLflow at"):
        mlflow.log(uri, found, summarize(found), [tmp_path / "missing.json"])
    assert [run["status"] for run in logged(uri)] == ["FAILED"]


def closed_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def test_a_server_that_does_not_answer_is_one_line_without_its_password() -> None:
    found = report()
    uri = f"http://me:secret@127.0.0.1:{closed_port()}"
    with pytest.raises(ReportError) as caught:
        mlflow.log(uri, found, summarize(found), [])
    assert caught.value.message.startswith("cannot log to MLflow at 'http://***@127.0.0.1:")
    assert "\n" not in caught.value.message
    assert "secret" not in str(caught.value)
    assert "again: pipeline run report --set 'report.mlflow=http://***@127" in caught.value.hint
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("uri", ["nonsense://x", "file:///proc/nothing"])
def test_an_address_that_means_nothing_is_one_line(uri: str) -> None:
    found = report()
    with pytest.raises(ReportError, match=f"cannot log to MLflow at '{uri}'"):
        mlflow.log(uri, found, summarize(found), [])


def test_without_the_package_the_run_does_not_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow.require()
    monkeypatch.setattr(sys, "path", [os.devnull])
    monkeypatch.delitem(sys.modules, "mlflow", raising=False)
    with pytest.raises(SettingsError) as caught:
        mlflow.require()
    assert caught.value.hint.startswith("pip install mlflow-skinny")


def test_a_metric_is_a_number_and_nothing_else() -> None:
    found = report(history=[{"epoch": 1, "loss": None, "note": "x", "accuracy": 0.5}])
    points = dict((name, value) for name, value, _ in mlflow.metrics(found, summarize(found)))
    assert points["train.accuracy"] == 0.5
    assert "train.loss" not in points
    assert "train.note" not in points


def test_the_tags_say_which_gates_were_missed() -> None:
    missed = GateSummary(gate="max_p50_ms", state="missed")
    run = summarize(report()).model_copy(update={"gates": (missed,)})
    assert dict(mlflow.tags(run))["gates.max_p50_ms"] == "missed"


def test_another_task_is_logged_by_all_that_it_is_judged_by() -> None:
    found = records()
    quality = {"samples": 360, "metric": "r2", "measures": {"r2": 0.9, "mae": 12.5}}
    found["train"]["measurements"]["accuracy"] = quality
    for engine in found["benchmark"]["measurements"]["engines"]:
        engine["accuracy"] = quality if engine["latency"] else None
    made = report_of(found)
    points = {name: value for name, value, _ in mlflow.metrics(made, summarize(made))}
    assert summarize(made).engine == "litert.int8"
    for name in ("train", "litert.int8", "chosen"):
        assert (points[f"{name}.r2"], points[f"{name}.mae"]) == (0.9, 12.5)
        assert f"{name}.top1" not in points
