from __future__ import annotations

import itertools

import pytest

from pipeline.report.sections import engines_figures
from pipeline.report.sections.engines_figures import Point, frontier
from pipeline.results.assemble import assemble
from tests.pipeline.records import records
from tests.pipeline.report.drawn import by_name, texts


def point(name: str, p50_ms: float, top1: float) -> Point:
    return Point(name, "", {"p50_ms": p50_ms}, top1)


def test_the_frontier_is_what_nothing_beats_in_both() -> None:
    points = [
        point("slow and right", 4.0, 99.0),
        point("fast and wrong", 1.0, 90.0),
        point("slower and no better", 2.0, 90.0),
        point("middle", 3.0, 95.0),
        point("as fast, worse", 3.0, 94.0),
    ]
    assert [each.name for each in frontier(points)] == [
        "fast and wrong",
        "middle",
        "slow and right",
    ]


def test_every_engine_and_the_trained_model_are_named_at_every_batch_size() -> None:
    found = by_name(engines_figures.charts, assemble(records(), {}))
    assert list(found) == ["pareto-1", "pareto-32"]
    names = {"trained", "ONNX Runtime float32", "ONNX Runtime INT8", "LiteRT INT8"}
    chart = found["pareto-1"]
    assert names <= {text.get_text() for text in chart.figure.texts}
    assert sorted(texts(chart)) == ["1", "2", "3", "4"]
    assert "LiteRT INT8: 8.00 µs, 98.61 %" in found["pareto-1"].description
    assert "Nothing beats in both: LiteRT INT8, ONNX Runtime float32." in (
        found["pareto-1"].description
    )


def test_of_many_batch_sizes_the_smallest_two_and_the_largest_are_drawn() -> None:
    found = records()
    measured = found["benchmark"]["measurements"]
    for rows in (
        each["latency"] for each in [measured["details"]["baseline"], *measured["engines"]]
    ):
        rows += [{**row, "batch_size": size} for row in rows[:1] for size in (8, 64, 128)]
    assert list(by_name(engines_figures.charts, assemble(found, {}))) == [
        "pareto-1",
        "pareto-8",
        "pareto-128",
    ]


@pytest.mark.parametrize("stages", [("train",), ("train", "prune", "quantize", "convert", "build")])
def test_without_a_benchmark_there_is_no_figure(stages: tuple[str, ...]) -> None:
    assert by_name(engines_figures.charts, assemble(records(*stages), {})) == {}


def test_the_numbers_of_points_in_one_place_do_not_cover_each_other() -> None:
    found = records()
    for each in found["benchmark"]["measurements"]["engines"]:
        for timed in each["latency"]:
            timed["p50_ms"] = 0.02
    chart = by_name(engines_figures.charts, assemble(found, {}))["pareto-1"]
    axes = chart.figure.axes[0]
    places = sorted(float(axes.transData.transform(text.get_position())[0]) for text in axes.texts)
    assert all(after - before > 10 for before, after in itertools.pairwise(places))
