from __future__ import annotations

from pipeline.report.sections import classes
from pipeline.results.assemble import assemble
from tests.pipeline.records import records
from tests.pipeline.report.full_run import full_records, full_report


def test_every_class_is_shown_before_and_after() -> None:
    grid = classes.class_grid(full_report())
    assert grid.columns[:4] == ("class", "images", "recall, trained", "recall, engine")
    # 118 and 119 of 120; precision 120 of 121 and 117 of 117
    assert grid.rows[0][:4] == ("0", "120", "98.33 %", "99.17 %")
    assert grid.rows[1][4:6] == ("99.17 %", "100.00 %")


def test_the_most_frequent_mistakes_come_first() -> None:
    rows = classes.mistake_grid(full_report()).rows
    assert rows[0] == ("1", "2", "0", "3")
    assert ("0", "1", "1", "0") in rows
    assert len(rows) == 4


def test_a_confusion_of_very_many_classes_has_no_table_of_mistakes() -> None:
    found = full_records()
    for each in found["benchmark"]["measurements"]["details"]["classification"].values():
        each["confusion"] = []
    report = assemble(found, {})
    assert classes.mistake_grid(report).rows == ()
    assert len(classes.class_grid(report).rows) == 3


def test_records_without_classes_have_none() -> None:
    for stages in ((), ("train",)):
        report = assemble(records(*stages), {})
        assert classes.described(report) is None
        assert classes.class_grid(report).rows == ()
        assert classes.mistake_grid(report).rows == ()
