from __future__ import annotations

import pytest

from pipeline.report.sections import classes
from pipeline.results.evidence import Evidence
from tests.pipeline.records import records, report_of
from tests.pipeline.report.drawn import by_name, texts
from tests.pipeline.report.full_run import full_records, full_report, per_class


def test_every_class_is_shown_before_and_after() -> None:
    table = classes.class_table(full_report())
    assert table.columns[:4] == ("class", "images", "recall, trained", "recall, engine")
    # 118 and 119 of 120; precision 120 of 121 and 117 of 117
    assert table.rows[0][:4] == ("0", "120", "98.33 %", "99.17 %")
    assert table.rows[1][4:6] == ("99.17 %", "100.00 %")


def test_the_most_frequent_mistakes_come_first() -> None:
    rows = classes.mistake_table(full_report()).rows
    assert rows[0] == ("1", "2", "0", "3")
    assert ("0", "1", "1", "0") in rows
    assert len(rows) == 4


def test_a_confusion_of_very_many_classes_has_no_table_of_mistakes() -> None:
    found = full_records()
    for each in found["benchmark"]["measurements"]["details"]["classification"].values():
        each["confusion"] = []
    report = report_of(found)
    assert classes.mistake_table(report).rows == ()
    assert len(classes.class_table(report).rows) == 3


def test_records_without_classes_have_none() -> None:
    for stages in ((), ("train",)):
        report = report_of(records(*stages))
        assert classes.described(report) is None
        assert classes.class_table(report).rows == ()
        assert classes.mistake_table(report).rows == ()


def test_there_is_a_matrix_before_and_one_after() -> None:
    found = by_name(classes.charts, full_report())
    assert texts(found["confusion-before"]) == ["118", "1", "1", "120", "1", "119"]
    assert texts(found["confusion-after"]) == ["119", "1", "117", "3", "1", "119"]
    assert found["confusion-after"].title == "Confusion of LiteRT INT8"
    assert found["confusion-after"].description == (
        "5 of 360 images classified wrongly. "
        "Most often: 1 as 2 3 times, 0 as 2 1 times, 2 as 0 1 times."
    )


def test_a_mistake_is_the_redder_the_more_often_it_was_made_on_one_scale() -> None:
    found = by_name(classes.charts, full_report())

    def strengths(name: str) -> list[float]:
        (mesh,) = found[name].figure.axes[0].collections
        return [float(colour[3]) for colour in mesh.get_facecolor()]

    assert strengths("confusion-after")[5] == pytest.approx(0.12 + 0.8 * (3 / 5) ** 0.5)
    assert strengths("confusion-before")[1] == pytest.approx(0.12 + 0.8 * (1 / 5) ** 0.5)


@pytest.mark.parametrize("count", [1, 41])
def test_one_class_or_very_many_are_no_figure(count: int) -> None:
    found = full_records()
    described = per_class([[int(i == j) for i in range(count)] for j in range(count)])
    described["classes"] = [str(i) for i in range(count)]
    known = {"baseline": described, "litert.int8": described}
    found["benchmark"]["measurements"]["details"]["classification"] = known
    assert by_name(classes.charts, report_of(found)) == {}


def test_records_without_classes_have_no_figure() -> None:
    assert by_name(classes.charts, report_of()) == {}


def test_models_without_a_single_mistake_have_their_figures() -> None:
    found = full_records()
    perfect = per_class([[120, 0, 0], [0, 120, 0], [0, 0, 120]])
    known = found["benchmark"]["measurements"]["details"]["classification"]
    known |= {"baseline": perfect, "litert.int8": perfect}
    report = report_of(found)
    assert classes.mistake_table(report).rows == ()
    assert list(classes.charts(report, Evidence()))


def test_labels_are_called_labels() -> None:
    found = full_records()
    for each in found["benchmark"]["measurements"]["engines"]:
        if each["accuracy"]:
            each["accuracy"] = {"metric": "mean_average_precision", "samples": 360}
    table = classes.class_table(report_of(found))
    assert (table.title, table.columns[:2]) == ("Labels", ("label", "images"))
