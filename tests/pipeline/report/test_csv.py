from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from pipeline.report import csv as spreadsheet
from tests.pipeline.records import records, report_of
from tests.pipeline.report.full_run import full_records


def lines(found: dict[str, Any]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(spreadsheet.render(report_of(found)))))


def test_there_is_one_line_per_latency_and_one_for_what_has_none() -> None:
    found = [(each["kind"], each["name"]) for each in lines(records())]
    assert found.count(("stage", "train")) == 3
    assert found.count(("stage", "build")) == 1
    assert found.count(("engine", "litert")) == 2
    assert found.count(("engine", "tensorrt")) == 3


def test_a_line_holds_model_accuracy_and_latency() -> None:
    line = next(each for each in lines(records()) if each["name"] == "litert")
    assert (line["precision"], line["runtime_precision"], line["runtime"]) == (
        "int8",
        "int8",
        "litert",
    )
    assert (line["size_bytes"], line["accuracy_samples"]) == ("120500", "360")
    assert (line["batch_size"], line["latency_samples"], line["p50_ms"]) == ("1", "5000", "0.008")


def test_whether_p99_is_indicative_is_a_column() -> None:
    found = lines(records("train"))
    assert [each["p99_is_indicative"] for each in found] == ["True"]
    assert {each["p99_is_indicative"] for each in lines(records()) if each["name"] == "litert"} == {
        "False"
    }


def test_a_reason_with_commas_and_line_breaks_stays_one_cell() -> None:
    found = records()
    reason = 'no "GPU", no driver\nat all'
    found["benchmark"]["measurements"]["engines"][3]["reason"] = reason
    assert [each["reason"] for each in lines(found) if each["name"] == "tensorrt_rtx"] == [reason]


def test_what_makes_a_latency_believable_is_in_its_line() -> None:
    timed = [line for line in lines(full_records()) if line["p50_low_ms"]]
    assert {line["stable"] for line in timed} == {"True", "False"}
    litert = next(line for line in timed if line["name"] == "litert")
    assert (float(litert["p50_low_ms"]), float(litert["p50_high_ms"])) == pytest.approx(
        (0.008 * 0.99, 0.008 * 1.02)
    )
