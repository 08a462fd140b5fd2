from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.comparison import find
from pipeline.report import render
from pipeline.results import history
from pipeline.results.summary import EngineSummary
from stages.errors import ArtifactError
from tests.pipeline.comparison.samples import measured, run, store
from tests.pipeline.records import records, report_of


def test_a_folder_of_artifacts_is_a_run(tmp_path: Path) -> None:
    found = find(str(store(tmp_path / "with blank ä", measured())), tmp_path)
    assert found.summary == run().summary
    assert found.name.endswith("with blank ä")


def test_a_report_is_the_same_run(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(render(report_of(measured()), "json"))
    assert find(str(tmp_path / "report.json"), tmp_path).summary == run().summary


def test_a_folder_that_holds_only_the_report_is_that_run(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(render(report_of(measured()), "json"))
    assert find(str(tmp_path), tmp_path).summary == run().summary


def test_an_id_of_the_history_is_the_same_run(tmp_path: Path) -> None:
    id = history.append(tmp_path, run().summary)
    found, expected = find(id, tmp_path).summary, run().summary
    assert {**dict(found), "time": expected.time}.items() >= dict(expected).items()


def engines(folder: Path) -> dict[str, EngineSummary]:
    return find(str(folder), folder).summary.engines


def test_records_without_windows_get_blocks_of_the_samples(tmp_path: Path) -> None:
    samples = {
        "litert.int8.b1.t1": np.arange(100, dtype=np.float32),
        "baseline.onnxruntime.fp32.b32.t1": np.ones(50, np.float32),
    }
    found = engines(store(tmp_path / "a", records(), {"latency.npz": samples}))
    blocks = tuple(4.5 + 10 * n for n in range(10))
    assert found["litert.int8"].latency[0].window_p50_ms == blocks
    assert found["baseline"].latency[1].window_p50_ms == (1.0,) * 10
    assert found["baseline"].latency[0].window_p50_ms is None


def test_samples_that_were_changed_are_not_read(tmp_path: Path) -> None:
    samples = {"litert.int8.b1.t1": np.ones(100)}
    folder = store(tmp_path / "a", records(), {"latency.npz": samples})
    (folder / "benchmark/latency.npz").write_bytes(b"x" * 10)
    assert engines(folder)["litert.int8"].latency[0].window_p50_ms is None


def test_predictions_are_read_where_there_are_some(tmp_path: Path) -> None:
    predictions = {"labels": np.arange(3), "litert.int8": np.arange(3)}
    found = find(
        str(store(tmp_path / "a", records(), {"predictions.npz": predictions})), tmp_path
    ).predictions
    assert sorted(found) == ["labels", "litert.int8"]


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no run in the folder") as caught:
        find(str(tmp_path), tmp_path)
    assert caught.value.hint == f"run: pipeline run all --artifacts {tmp_path}"


def test_a_damaged_record_is_refused(tmp_path: Path) -> None:
    folder = store(tmp_path / "a", records())
    (folder / "prune/record.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"prune/record.json is damaged"):
        find(str(folder), tmp_path)


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"schema_version": 1}', '{"schema_version": 2, "stages": []}',
     '{"schema_version": 1, "stages": [3]}', '{"schema_version": 1, "stages": []}'],
)  # fmt: skip
def test_a_file_that_is_no_report_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "report.json"
    file.write_text(content)
    with pytest.raises(ArtifactError, match=r"report.json' is no report of a run"):
        find(str(file), tmp_path)


def test_a_report_whose_seal_is_not_recognised_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    file.write_text(render(report_of(records("train")), "json").replace('"seal"', '"seam"'))
    with pytest.raises(ArtifactError, match="it has no seal"):
        find(str(file), tmp_path)


def test_a_report_of_binary_rubbish_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\x80\x02" * 9)
    with pytest.raises(ArtifactError, match="is no report of a run"):
        find(str(tmp_path / "x"), tmp_path)


def test_any_report_of_a_part_of_the_line_is_a_run(tmp_path: Path) -> None:
    for stages in (("train",), ("train", "prune"), ("build", "benchmark")):
        report = render(report_of(records(*stages)), "json")
        (tmp_path / "report.json").write_text(report)
        assert find(str(tmp_path / "report.json"), tmp_path).summary.stages.keys() == {*stages}


def test_samples_that_are_as_recorded_and_yet_no_archive_are_left_out(tmp_path: Path) -> None:
    folder = store(tmp_path / "a", records(), {"latency.npz": {"litert.int8.b1.t1": np.ones(9)}})
    rubbish, record = b"PK\x03\x04 no archive", folder / "benchmark/record.json"
    (folder / "benchmark/latency.npz").write_bytes(rubbish)
    content = json.loads(record.read_text())
    digest = hashlib.sha256(rubbish).hexdigest()
    content["files"]["latency.npz"] = {"sha256": digest, "size_bytes": len(rubbish)}
    record.write_text(json.dumps(content))
    assert engines(folder)["litert.int8"].latency[0].window_p50_ms is None
