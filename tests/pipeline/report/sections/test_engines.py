from __future__ import annotations

import itertools
from typing import Any

import pytest

from pipeline.report.sections import engines
from pipeline.report.sections.engines import Mark, frontier
from pipeline.report.tables import NotRun
from pipeline.results import engine_choice
from stages.results.base import LatencyRow
from stages.results.engines import EngineChoice
from stages.tasks import base as tasks
from stages.tasks.registry import MAIN, METRICS, TaskName
from tests.pipeline.records import LINE, judged, records, report_of, row
from tests.pipeline.report.drawn import by_name, cells, texts

CERTAIN = {"stable": True, "within_budget": True}


def test_the_engine_table_has_a_p50_for_every_batch_size_and_throughput_at_the_largest() -> None:
    found = cells(engines.engine_table(report_of()))
    assert found["onnxruntime int8"] == {
        "state": "ran",
        "accuracy": "98.61 %",
        "p50 ms, batch 1": "0.0200",
        "p50 ms, batch 32": "0.200",
        "images/s, batch 32": "160,000",
        "size": "125 kB",
    }


def test_an_engine_that_was_built_but_not_run_shows_its_size_and_no_measurement() -> None:
    found = cells(engines.engine_table(report_of()))["tensorrt_rtx int8"]
    assert found.pop("state") == "built, not run"
    assert found.pop("size") == "310 kB"
    assert set(found.values()) == {"-"}


def test_engines_that_did_not_run_for_one_reason_are_named_together() -> None:
    assert list(engines.not_run(report_of())) == [
        NotRun("tensorrt_rtx int8", "built, not run", "no GPU", "install NVIDIA's driver"),
        NotRun(
            "tensorrt fp32, fp16, int8",
            "unavailable",
            "package tensorrt is not installed",
            "pip install 'keras-trt-pipeline[gpu]'",
        ),
    ]


def test_each_thread_count_of_an_engine_has_its_line() -> None:
    found = records()
    engine = found["benchmark"]["measurements"]["engines"][2]
    engine["latency"].append({**row("litert", "int8", 1, 0.012), "threads": 2})
    table = cells(engines.engine_table(report_of(found)))
    assert table["litert int8, 1 thread"]["p50 ms, batch 1"] == "0.00800"
    assert table["litert int8, 2 threads"]["p50 ms, batch 1"] == "0.0120"
    assert table["litert int8, 2 threads"]["p50 ms, batch 32"] == "-"


@pytest.mark.parametrize("output", ["logits", "probabilities"])
def test_what_engines_return_is_said(output: str) -> None:
    found = records()
    found["convert"]["measurements"]["details"]["output"] = output
    notes = engines.engine_table(report_of(found)).notes
    assert f"Engines return {output}." in notes


def test_latencies_that_build_took_are_said_to_be_brief() -> None:
    notes = engines.engine_table(report_of(records(*LINE[:-1]))).notes
    assert notes == ("Timed briefly by build: the benchmark measures at length.",)


def test_an_unstable_timing_is_marked_and_the_mark_explained() -> None:
    found = records()
    for engine in found["benchmark"]["measurements"]["engines"]:
        for timed in engine["latency"]:
            timed["stable"] = engine["backend"] != "litert"
    table = engines.engine_table(report_of(found))
    assert cells(table)["litert int8"]["p50 ms, batch 1"] == "0.00800!"
    assert cells(table)["onnxruntime int8"]["p50 ms, batch 1"] == "0.0200"
    assert table.notes == ("! UNSTABLE: the median is not certain.",)


def test_the_choice_of_build_and_the_changed_images_are_told_below_the_engines() -> None:
    found = records()
    found["build"]["measurements"]["details"]["choice"] = {
        "max_accuracy_drop": 0.5,
        "validation_samples": 144,
        "trained_top1": 140 / 144,
        "differences": [{"engine": "litert.int8", "lost": 2, "won": 1, "other": 0}],
        "table": [
            choice("litert.int8", 1, 0.008, top1=139 / 144),
            choice("onnxruntime.int8", 32, 0.2, top1=138 / 144),
        ],
        "chosen": {
            "1": {"engine": "litert.int8", "threads": 1, **CERTAIN},
            "32": {"engine": "onnxruntime.int8", "threads": 1, **CERTAIN, "within_budget": False},
        },
    }
    changed = {"engine": "litert.int8", "lost": 3, "won": 1, "other": 0}
    found["benchmark"]["measurements"]["details"]["changed"] = changed
    assert engines.engine_table(report_of(found)).notes == (
        "Allowed 0.5 points (or one image) below the trained model on 144 validation images, build "
        "chose: litert int8 (batch 1, -0.69 points, 95 % interval -4.45 to +2.79), "
        "onnxruntime int8 (batch 32, -1.39 points, over the budget).",
        "litert int8 against the trained model, image by image: 3 lost, 1 won, "
        "0 wrong in another way: -0.56 points, 95 % interval -2.25 to +0.92.",
    )


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("binary", "3 moved to the wrong side of the threshold, 1 to the right one"),
        ("multilabel", "more labels wrong in 3, fewer in 1"),
        (
            "regression",
            "the error grew in 3 and shrank in 1, by more than 0.1 standard deviations of the "
            "targets",
        ),
        ("segmentation", "the IoU fell in 3 and rose in 1, by more than 1 point"),
        (
            "several",
            "the answers of all outputs together became worse in 3 and better in 1, by more than "
            "the tasks tolerate",
        ),
    ],
)
def test_of_other_tasks_it_is_told_what_became_worse_and_by_itself_what_the_metric_lost(
    task: TaskName, said: str
) -> None:
    found = judged(records(), **{MAIN[task]: 0.9})
    litert = found["benchmark"]["measurements"]["engines"][2]
    litert["accuracy"]["measures"] = {MAIN[task]: 0.89}
    changed = {"engine": "litert.int8", "lost": 3, "won": 1, "other": 0}
    found["benchmark"]["measurements"]["details"]["changed"] = {
        **changed, "change_low": -0.02, "change_high": 0.001
    }  # fmt: skip
    assert engines.engine_table(report_of(found)).notes[-2:] == (
        f"litert int8 against the trained model, image by image: {said}.",
        f"litert int8 against the trained model, {METRICS[MAIN[task]].words}: -1.00 points, "
        "95 % interval -2.00 to +0.10.",
    )


def test_the_words_of_what_became_worse_name_the_tolerance_of_the_task() -> None:
    assert tasks.of("binary").TOLERANCE == tasks.of("multilabel").TOLERANCE == 0
    assert f"{tasks.of('regression').TOLERANCE} standard deviations" in engines.COUNTED["r2"]
    assert f"{100 * tasks.of('segmentation').TOLERANCE:g} point" in engines.COUNTED["mean_iou"]
    assert set(engines.COUNTED) == set(MAIN.values()) - {"top1", "own"}


def test_of_a_metric_of_the_users_no_images_are_counted() -> None:
    found = judged(records(), own=0.9)
    changed = {"engine": "litert.int8", "lost": 0, "won": 0, "other": 0}
    found["benchmark"]["measurements"]["details"]["changed"] = {
        **changed, "change_low": -0.02, "change_high": 0.001
    }  # fmt: skip
    notes = engines.engine_table(report_of(found)).notes
    assert not any("image by image" in each for each in notes)
    assert notes[-1].startswith("litert int8 against the trained model, own metric: ")


def test_the_budget_of_a_metric_is_not_told_in_images() -> None:
    asked = EngineChoice(max_accuracy_drop=0.5, validation_samples=64, trained_top1=0.9)
    assert "(or one image)" in engine_choice.budget(asked)
    of_r2 = asked.model_copy(update={"metric": "r2"})
    assert engine_choice.budget(of_r2) == "0.5 points of R2 below the trained model"


def choice(engine: str, batch_size: int, p50_ms: float, **more: Any) -> dict[str, Any]:
    return {"engine": engine, "batch_size": batch_size, "threads": 1, "p50_ms": p50_ms, **more}


def test_the_choice_of_the_engine_shows_what_it_was_made_by() -> None:
    found = records()
    found["build"]["measurements"]["details"]["choice"] = {
        "batch_sizes": [1],
        "max_accuracy_drop": 0.5,
        "table": [
            choice("litert.int8", 1, 0.008, p50_low_ms=0.0079, p50_high_ms=0.0081, stable=True,
                   top1=0.98, within_budget=True),
            choice("onnxruntime.int8", 1, 0.007, stable=False, top1=0.9, within_budget=False),
        ],
        "chosen": {"1": {"engine": "litert.int8", "threads": 1, **CERTAIN}},
    }  # fmt: skip
    table = engines.choice_table(report_of(found))
    assert "0.5 points" in table.caption
    assert table.rows == (
        ("litert int8", "1", "1", "0.00800", "0.00790 to 0.00810", "98.00 %", "within", "chosen"),
        ("onnxruntime int8", "1", "1", "0.00700 UNSTABLE", "-", "90.00 %", "too far off", ""),
    )


def test_without_a_choice_there_is_no_table_of_it() -> None:
    assert engines.choice_table(report_of()).rows == ()
    assert engines.choice_table(report_of(records("train"))).rows == ()


def mark(name: str, p50_ms: float, top1: float) -> Mark:
    return Mark(name, "", LatencyRow(**row("litert", "int8", 1, p50_ms)), top1)


def test_the_frontier_is_what_nothing_beats_in_both() -> None:
    marks = [
        mark("slow and right", 4.0, 99.0),
        mark("fast and wrong", 1.0, 90.0),
        mark("slower and no better", 2.0, 90.0),
        mark("middle", 3.0, 95.0),
        mark("as fast, worse", 3.0, 94.0),
    ]
    assert [each.name for each in frontier(marks)] == [
        "fast and wrong",
        "middle",
        "slow and right",
    ]


def test_every_engine_and_the_trained_model_are_named_at_every_batch_size() -> None:
    found = by_name(engines.charts, report_of())
    assert list(found) == ["pareto-1", "pareto-32"]
    names = {"trained", "ONNX Runtime float32", "ONNX Runtime INT8", "LiteRT INT8"}
    chart = found["pareto-1"]
    assert names <= {text.get_text() for text in chart.figure.texts}
    assert sorted(texts(chart)) == ["1", "2", "3", "4"]
    assert "LiteRT INT8: 8.00 µs, 98.61 %" in found["pareto-1"].description
    assert "On the Pareto frontier: LiteRT INT8, ONNX Runtime float32." in (
        found["pareto-1"].description
    )


def test_of_many_batch_sizes_the_smallest_two_and_the_largest_are_drawn() -> None:
    found = records()
    measured = found["benchmark"]["measurements"]
    for rows in (
        each["latency"] for each in [measured["details"]["baseline"], *measured["engines"]]
    ):
        rows += [{**row, "batch_size": size} for row in rows[:1] for size in (8, 64, 128)]
    assert list(by_name(engines.charts, report_of(found))) == [
        "pareto-1",
        "pareto-8",
        "pareto-128",
    ]


@pytest.mark.parametrize("stages", [("train",), ("train", "prune", "quantize", "convert", "build")])
def test_without_a_benchmark_there_is_no_figure(stages: tuple[str, ...]) -> None:
    assert by_name(engines.charts, report_of(records(*stages))) == {}


def test_the_numbers_of_points_in_one_place_do_not_cover_each_other() -> None:
    found = records()
    for each in found["benchmark"]["measurements"]["engines"]:
        for timed in each["latency"]:
            timed["p50_ms"] = 0.02
    chart = by_name(engines.charts, report_of(found))["pareto-1"]
    axes = chart.figure.axes[0]
    places = sorted(float(axes.transData.transform(text.get_position())[0]) for text in axes.texts)
    assert all(after - before > 10 for before, after in itertools.pairwise(places))


@pytest.mark.parametrize(
    ("int8", "float32", "words"),
    [
        (130_000, 120_000, "litert int8 is a larger file than float32 (130 kB, 120 kB): of so few"),
        (120_000, 130_000, ""),
    ],
)
def test_an_int8_file_that_is_the_larger_one_is_explained(
    int8: int, float32: int, words: str
) -> None:
    found = records()
    files = found["build"]["files"]
    files["litert.int8.tflite"]["size_bytes"] = int8
    files["litert.fp32.tflite"] = {**files["litert.int8.tflite"], "size_bytes": float32}
    for measured in (found["build"], found["benchmark"]):
        listed = measured["measurements"]["engines"]
        same = next(each for each in listed if each["file"] == "litert.int8.tflite")
        listed.append({**same, "precision": "fp32", "file": "litert.fp32.tflite"})
    (table,) = [each for each in engines.tables(report_of(found)) if each.title == "Engines"]
    notes = [note for note in table.notes if "larger file" in note]
    assert [note.startswith(words) for note in notes] == ([True] if words else [])
