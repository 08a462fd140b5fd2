from __future__ import annotations

import pytest

from pipeline.report.sections import classes_figures
from pipeline.results.assemble import assemble
from tests.pipeline.records import records
from tests.pipeline.report.drawn import by_name, texts
from tests.pipeline.report.full_run import full_records, full_report, per_class


def test_there_is_a_matrix_before_and_one_after() -> None:
    found = by_name(classes_figures.charts, full_report())
    assert texts(found["confusion-before"]) == ["118", "1", "1", "120", "1", "119"]
    assert texts(found["confusion-after"]) == ["119", "1", "117", "3", "1", "119"]
    assert found["confusion-after"].title == "Confusion of LiteRT INT8"
    assert found["confusion-after"].description == (
        "5 of 360 images named wrongly. Most often: 1 as 2 3 times, 0 as 2 1 times, 2 as 0 1 times."
    )


def test_a_mistake_is_the_redder_the_more_often_it_was_made_on_one_scale() -> None:
    found = by_name(classes_figures.charts, full_report())

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
    assert by_name(classes_figures.charts, assemble(found, {})) == {}


def test_records_without_classes_have_no_figure() -> None:
    assert by_name(classes_figures.charts, assemble(records(), {})) == {}
