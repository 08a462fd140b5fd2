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
