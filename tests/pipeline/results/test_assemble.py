from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from pipeline.core.record import FileEntry
from pipeline.results.assemble import assemble
from pipeline.results.model import EngineReport, Report, StageReport
from stages.engines.registry import EngineName
from stages.errors import ArtifactError
from stages.results.base import Details, LatencyRow, ModelFacts, Quality, StageResult
from stages.results.machine import MachineFacts
from tests.pipeline.records import LINE, changed, parsed, records, report_of, sha256

CONTRACT = {"schema_version", "environment", "dataset", "stages", "engines"}


def stage(report: Report, name: str) -> StageReport:
    found = report.stage(name)
    assert found
    return found


def engine(report: Report, backend: str, precision: str) -> EngineReport:
    found = report.engine(EngineName(backend, precision))
    assert found
    return found


def timings(latency: Sequence[LatencyRow]) -> list[tuple[Any, ...]]:
    return [(each.runtime, each.precision, each.batch_size, each.p50_ms) for each in latency]


def test_a_folder_without_records_is_refused_with_the_command_that_fills_it() -> None:
    with pytest.raises(ArtifactError, match="no stage has run yet") as caught:
        assemble({}, {})
    assert caught.value.hint == "run: pipeline run all"


def test_every_contract_key_is_there_when_only_train_has_run() -> None:
    report = report_of(records("train"), {"train": "ran"})
    assert set(report.model_dump()) >= CONTRACT
    assert report.engines == ()
    assert report.baseline.accuracy == Quality()
    assert [each.stage for each in report.stages] == ["train"]


def test_a_stage_that_measured_no_model_has_the_keys_with_null() -> None:
    found = records()
    found["build"]["measurements"].update(model={}, accuracy=None, latency=[])
    build = stage(report_of(found), "build")
    assert (build.model, build.accuracy, build.latency) == (ModelFacts(), Quality(), ())
    assert set(build.model_dump()["accuracy"].values()) == {None}


def test_hash_and_size_of_a_stage_model_come_from_the_recorded_files() -> None:
    model = stage(report_of(), "train").model
    assert model.sha256 == sha256("train", "model.keras")
    assert (model.size_bytes, model.parameters) == (5_100_000, 421_642)


def test_the_model_of_the_benchmark_is_an_engine_file_of_build() -> None:
    model = stage(report_of(), "benchmark").model
    assert model.sha256 == sha256("build", "litert.int8.tflite")
    assert model.size_bytes == 120_500


def test_hash_and_size_of_an_engine_come_from_the_files_of_build() -> None:
    found = engine(report_of(), "litert", "int8")
    assert found.sha256 == sha256("build", "litert.int8.tflite")
    assert found.size_bytes == 120_500


def test_the_size_of_a_plan_is_that_of_all_files_that_it_is_exported_with() -> None:
    found = parsed(records())
    apart = {
        "litert.int8.tflite.weights.onnx": FileEntry(sha256="0" * 64, size_bytes=1000),
        "litert.int8.tflite.json": FileEntry(sha256="1" * 64, size_bytes=200),
    }
    files = {**found["build"].files, **apart}
    report = assemble({**found, "build": found["build"].model_copy(update={"files": files})}, {})
    assert engine(report, "litert", "int8").size_bytes == 121_700
    assert engine(report, "litert", "int8").sha256 == sha256("build", "litert.int8.tflite")


def test_an_unavailable_engine_has_its_reason_and_no_file() -> None:
    found = engine(report_of(), "tensorrt", "fp16")
    assert found.state == "unavailable"
    assert found.reason == "package tensorrt is not installed"
    assert found.fix == "pip install 'keras-trt-pipeline[gpu]'"
    assert (found.file, found.sha256, found.size_bytes) == (None, None, None)


def test_a_stage_that_was_not_selected_counts_as_cached() -> None:
    report = report_of(records("train", "prune"), {"prune": "ran"})
    assert [each.state for each in report.stages] == ["cached", "ran"]


def test_train_gets_the_baseline_rows_of_the_benchmark() -> None:
    latency = stage(report_of(), "train").latency
    assert timings(latency) == [
        ("tf.function", "fp32", 1, 0.4),
        ("onnxruntime", "fp32", 1, 0.056),
        ("onnxruntime", "fp32", 32, 1.0),
    ]
    assert [each.measured_in for each in latency] == ["train", "benchmark", "benchmark"]


@pytest.mark.parametrize(
    ("name", "precision", "p50_ms"), [("prune", "fp32", 0.025), ("quantize", "int8", 0.020)]
)
def test_prune_and_quantize_get_the_rows_of_their_own_onnxruntime_engine(
    name: str, precision: str, p50_ms: float
) -> None:
    latency = stage(report_of(), name).latency
    assert ("onnxruntime", precision, 1, p50_ms) in timings(latency)
    assert len(latency) == 3


def test_convert_gets_no_latency_of_others() -> None:
    assert stage(report_of(), "convert").latency == ()


def test_without_a_benchmark_the_engines_are_those_of_build() -> None:
    report = report_of(records(*LINE[:-1]))
    found = engine(report, "litert", "int8")
    assert found.accuracy.samples == 256
    assert found.measured_in == "build"
    assert timings(stage(report, "prune").latency) == [("tf.function", "fp32", 1, 0.3)]


def test_the_baseline_has_the_file_that_build_wrote_and_the_timing_of_the_benchmark() -> None:
    baseline = report_of().baseline
    assert (baseline.file, baseline.size_bytes) == (
        "baseline.onnxruntime.fp32.onnx",
        1_687_000,
    )
    assert timings(baseline.latency)[0] == ("onnxruntime", "fp32", 1, 0.056)


def test_what_was_made_from_older_files_is_outdated_down_to_the_benchmark() -> None:
    report = report_of(changed(records(), "prune"))
    outdated = [each.stage for each in report.stages if each.outdated]
    assert outdated == ["quantize", "convert", "build", "benchmark"]


def test_an_outdated_benchmark_gives_no_rows_to_the_stages() -> None:
    report = report_of(changed(records(), "train"))
    assert timings(stage(report, "train").latency) == [("tf.function", "fp32", 1, 0.4)]


def test_engines_that_were_rebuilt_since_the_benchmark_lose_its_measurements() -> None:
    report = report_of(changed(records(), "build"))
    assert {each.measured_in for each in report.engines} == {"build"}
    assert report.baseline.latency == ()


def test_the_environment_is_that_of_the_last_stage() -> None:
    found = records()
    found["benchmark"]["environment"] = {"machine": "aarch64"}
    assert report_of(found).environment == MachineFacts(machine="aarch64")


def test_what_a_stage_of_ones_own_measured_is_in_the_report() -> None:
    found = parsed(records("train"))
    own = StageResult(details=Details(teapots=[1, 2]))
    found["distill"] = found["train"].model_copy(update={"stage": "distill", "measurements": own})
    details = stage(assemble(found, {}), "distill").model_dump()["details"]
    assert details == {"teapots": [1, 2]}


def test_the_records_are_left_as_they_were() -> None:
    found = parsed(records())
    assemble(found, {})
    assert found == parsed(records())
