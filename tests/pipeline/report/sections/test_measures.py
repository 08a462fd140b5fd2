from __future__ import annotations

from pipeline import report as reports
from pipeline.report.sections import measures
from tests.pipeline.records import judged, records, report_of
from tests.pipeline.report.drawn import cells


def test_every_measure_that_does_not_decide_is_reported_in_its_unit() -> None:
    found = report_of(judged(records(), roc_auc=0.97, f1=0.91, accuracy=0.935, threshold=0.41234))
    table = cells(measures.measure_table(found))
    own = {
        "accuracy at the threshold": "93.50 %",
        "F1 at the threshold": "91.00 %",
        "threshold": "0.4123",
    }
    assert table["train"] == table["litert int8"] == own
    assert "97.00 %" not in str(table)
    for format in ("md", "html"):
        text = reports.render(found, format)
        assert "Other metrics" in text
        assert "0.4123" in text


def test_errors_are_in_the_unit_of_the_targets_and_what_is_unknown_is_a_dash() -> None:
    found = judged(records(), r2=-0.5, mae=1234.5678, rmse=2000.0)
    found["prune"]["measurements"]["accuracy"]["measures"] = {"r2": -0.5, "mae": 2.0}
    table = cells(measures.measure_table(report_of(found)))
    assert list(table["train"].values()) == ["1235", "2000"]
    assert list(table["prune"].values()) == ["2", "-"]


def test_classification_has_no_such_table() -> None:
    assert measures.measure_table(report_of()).rows == ()


def test_several_outputs_have_a_table_of_what_decides_in_each_that_is_judged() -> None:
    found = judged(records(), mean_over_outputs=0.8)
    outputs = {
        "kind": {"top1": 0.9, "samples": 100},
        "place": {"metric": "r2", "measures": {"r2": 0.7, "mae": 2.0}, "samples": 100},
        "raw": {"samples": 100},
    }
    for each in found.values():
        for judged_model in (each["measurements"], *each["measurements"].get("engines", ())):
            if judged_model["accuracy"]:
                judged_model["accuracy"]["outputs"] = outputs
    table = cells(measures.output_table(report_of(found)))
    assert table["train"] == {"kind: accuracy": "90.00 %", "place: R2": "70.00 %"}
    assert "litert int8" in table
    assert measures.output_table(report_of()).rows == ()
