from __future__ import annotations

import json
from typing import Any

from pipeline.results.summary import ModelSummary, Summary, summarize
from stages.tasks.registry import metric as named
from tests.pipeline.records import changed, judged, records, report_of


def test_a_summary_says_which_run_it_is_and_which_engine_it_stands_for() -> None:
    found = summarize(report_of())
    assert (found.dataset, found.engine, found.batch_size) == ("digits", "litert.int8", 1)
    assert found.time == "2026-07-01T10:00:00+00:00"
    assert found.settings["prune"] == {"ratio": 0.5}
    assert found.conditions.load_average_before == 0.2


def test_the_model_is_the_users_own_or_the_name_in_the_table() -> None:
    run = records()
    run["train"]["settings"]["model"] = {"name": "mnist_cnn", "source": None}
    assert summarize(report_of(run)).model == "mnist_cnn"
    run["train"]["settings"]["model"]["source"] = "own.keras"
    assert summarize(report_of(run)).model == "own.keras"


def test_stages_and_engines_keep_what_is_compared() -> None:
    found = summarize(report_of())
    assert found.stages["train"] == ModelSummary(
        top1=357 / 360,
        samples=360,
        parameters=421_642,
        multiply_adds=8_000_000,
        size_bytes=5_100_000,
    )
    assert list(found.engines) == [
        "baseline", "onnxruntime.fp32", "onnxruntime.int8", "litert.int8",
    ]  # fmt: skip
    assert found.engines["litert.int8"].size_bytes == 120_500
    assert found.chosen is found.engines["litert.int8"]
    assert found.chosen_row is found.chosen.latency[0]
    assert found.chosen_row.p50_ms == 0.008


def test_a_mean_says_of_which_outputs_it_is_so_that_no_other_mean_is_compared_with_it() -> None:
    def metric(**outputs: dict[str, Any]) -> str | None:
        run = judged(records(), mean_over_outputs=0.8)
        run["train"]["measurements"]["accuracy"]["outputs"] = outputs
        return summarize(report_of(run)).stage("train").metric

    kind, box = {"top1": 0.7}, {"metric": "r2", "measures": {"r2": 0.9}}
    found = metric(kind=kind, box=box, feature={})
    assert found == "mean over box (R2), kind (accuracy)"
    assert named(found).words == found
    assert found not in (metric(kind=kind), metric(kind=kind, box={"metric": "mae"}))


def test_windows_and_bounds_of_a_row_are_kept() -> None:
    run = records()
    row = run["benchmark"]["measurements"]["engines"][2]["latency"][0]
    row.update(window_p50_ms=[0.1, 0.2], p50_low_ms=0.1, stable=False)
    found = summarize(report_of(run)).chosen_row
    assert found is not None
    assert (found.window_p50_ms, found.p50_low_ms, found.stable) == ((0.1, 0.2), 0.1, False)


def test_an_outdated_benchmark_leaves_no_engine() -> None:
    found = summarize(report_of(changed(records(), "train")))
    assert (found.engine, found.engines) == (None, {})
    assert list(found.stages) == ["train"]
    assert found.chosen is None
    assert found.chosen_row is None


def test_a_run_of_train_alone_can_be_summarized() -> None:
    found = summarize(report_of(records("train")))
    assert found.engine is None
    assert found.environment.machine == "x86_64"
    assert found.stage("prune") == ModelSummary()


def test_equal_settings_have_equal_hashes_and_others_another() -> None:
    one, same, other = records(), records(), records()
    other["prune"]["settings"]["prune"]["ratio"] = 0.25
    hashes = [summarize(report_of(run)).settings_hash for run in (one, same, other)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_summary_survives_json() -> None:
    found = summarize(report_of())
    content = json.dumps(found.model_dump(mode="json"), allow_nan=False)
    assert Summary.model_validate_json(content) == found
