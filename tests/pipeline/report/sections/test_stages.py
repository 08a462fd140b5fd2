from __future__ import annotations

import pytest

from pipeline.report.sections import stages
from tests.pipeline.records import LINE, changed, records, report_of
from tests.pipeline.report.drawn import bars, by_name, cells, lines, texts


def test_the_stage_table_shows_accuracy_change_latency_speedup_size_and_parameters() -> None:
    table = stages.stage_table(report_of())
    assert table.columns == (
        "stage", "accuracy", "change", "p50 ms, batch 1", "runtime", "speed-up", "size",
        "parameters",
    )  # fmt: skip
    assert table.rows[1] == (
        "prune", "98.89 %", "-0.28", "0.0250", "onnxruntime fp32", "2.2x", "1.4 MB", "108,000",
    )  # fmt: skip


def test_the_benchmark_line_is_the_fastest_engine() -> None:
    table = stages.stage_table(report_of())
    assert table.rows[-1] == (
        "benchmark", "98.61 %", "-0.56", "0.00800", "litert int8", "7.0x", "120 kB", "-",
    )  # fmt: skip


def test_train_is_compared_with_itself_and_has_no_change() -> None:
    train = cells(stages.stage_table(report_of()))["train"]
    assert (train["change"], train["speed-up"]) == ("-", "1.0x")


def test_accuracy_on_fewer_images_is_marked_and_the_mark_explained() -> None:
    table = stages.stage_table(report_of())
    assert cells(table)["convert"]["accuracy"] == "98.44 %*"
    assert any(note.startswith("* on other images") for note in table.notes)


def test_where_train_has_not_run_accuracies_are_marked_against_the_benchmark() -> None:
    table = stages.stage_table(report_of(records("convert", "build", "benchmark")))
    shown = {stage: line["accuracy"] for stage, line in cells(table).items()}
    assert shown == {"convert": "98.44 %*", "build": "98.83 %*", "benchmark": "98.61 %"}


def test_changes_have_an_interval_where_the_engines_were_compared_image_by_image() -> None:
    found = records()
    counted = [
        {"engine": name, "lost": 3, "won": won, "other": 0}
        for name, won in (("onnxruntime.fp32", 2), ("onnxruntime.int8", 2), ("litert.int8", 1))
    ]
    found["benchmark"]["measurements"]["details"]["differences"] = counted
    note, *_ = stages.stage_table(report_of(found)).notes
    # quantize has two images fewer right than train, which 3 lost and 2 won do not explain.
    assert note == (
        "Changes in points with their 95 % intervals, from the answers of the engines to every "
        "image: prune -0.28 (-2.00 to +1.36), benchmark -0.56 (-2.25 to +0.92)."
    )


def test_a_table_without_marks_explains_none() -> None:
    assert stages.stage_table(report_of(records("train"), {"train": "ran"})).notes == (
        "tf.function: TensorFlow's own compiled graph, compared only with itself.",
    )


def test_stages_of_an_earlier_run_are_named() -> None:
    report = report_of(records("train", "prune"), {"prune": "ran"})
    assert "From an earlier run: train." in stages.stage_table(report).notes


def test_what_a_stage_notes_of_its_way_stands_below_the_table() -> None:
    found = records("train", "prune")
    found["prune"]["measurements"]["notes"] = ["'cnn' goes on unpruned"]
    table = stages.stage_table(report_of(found))
    assert "prune: 'cnn' goes on unpruned." in table.notes
    assert "terminal" in table.shown_in


def test_a_stage_from_older_files_is_marked_old_and_not_compared() -> None:
    found = cells(stages.stage_table(report_of(changed(records(*LINE[:-1]), "prune"))))
    assert found["quantize (old)"]["change"] == "-"
    assert found["quantize (old)"]["speed-up"] == "-"
    assert found["prune"]["speed-up"] == "1.3x"


def test_each_bar_is_a_latency_and_what_was_saved_stands_on_it() -> None:
    chart = by_name(stages.charts, report_of())["latency-steps"]
    # trained; saved by pruning, pruned; saved by INT8, the engine
    assert bars(chart, "y") == pytest.approx([0.056, 0.031, 0.025, 0.017, 0.008])
    assert texts(chart) == ["56.0 µs", "25.0 µs\n2.2x", "8.00 µs\n3.1x"]
    assert "LiteRT INT8 8.00 µs (3.1x)" in chart.description


def test_sizes_are_those_of_the_engine_files() -> None:
    chart = by_name(stages.charts, report_of())["size-steps"]
    assert bars(chart, "y")[::2] == [1_687_000, 440_000, 120_500]


def test_accuracies_have_wilsons_interval() -> None:
    chart = by_name(stages.charts, report_of())["accuracy-steps"]
    # 356 of 360: 98.89 %, by Wilson 97.18 to 99.57; 355: 98.61 %, 96.80 to 99.41
    assert "trained 98.89 % (97.18 to 99.57)" in chart.description
    assert "LiteRT INT8 98.61 % (96.79 to 99.41)" in chart.description
    assert lines(chart)[0][1] == pytest.approx([98.889, 98.889, 98.611], abs=1e-3)


def test_parameters_are_those_of_the_stages() -> None:
    chart = by_name(stages.charts, report_of())["parameters"]
    assert bars(chart, "y") == [421_642, 108_000, 108_000]


def test_a_slower_step_takes_nothing_away() -> None:
    found = records()
    measured = found["benchmark"]["measurements"]
    measured["engines"][0]["latency"][0]["p50_ms"] = 0.1
    chart = by_name(stages.charts, report_of(found))["latency-steps"]
    assert bars(chart, "y") == pytest.approx([0.056, 0.1, 0.092, 0.008])
    assert texts(chart)[1] == "100 µs\n0.56x"


def test_after_train_alone_there_is_nothing_to_draw() -> None:
    assert by_name(stages.charts, report_of(records("train"))) == {}
