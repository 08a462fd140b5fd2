from __future__ import annotations

from pipeline.report.history_table import history_table
from pipeline.results.history import Entry
from pipeline.results.summary import GateSummary, summarize
from tests.pipeline.edits import edited
from tests.pipeline.records import judged, records, report_of


def run(*stages: str) -> Entry:
    """A run of these stages, of the whole line if none is named."""
    summary = summarize(report_of(records(*stages)))
    return Entry.model_validate({**dict(summary), "version": 1, "id": "3f9c2a51"})


def cells(*runs: Entry) -> dict[str, str]:
    """The last line of the table."""
    table = history_table(runs)
    return dict(zip(table.columns, table.rows[-1], strict=True))


def test_the_first_run_has_numbers_and_no_changes() -> None:
    assert cells(run()) == {
        "id": "3f9c2a51",
        "time": "2026-07-01 10:00",
        "trained": "99.17 %",
        "engine": "litert.int8",
        "accuracy": "98.61 %",
        "change": "-",
        "p50 ms": "0.00800",
        "change in %": "-",
        "size": "120 kB",
        "outcome": "",
        "settings that changed": "",
    }


def test_changes_are_against_the_run_before() -> None:
    second = edited(run(), "engines", "litert.int8", "top1", to=357 / 360)
    second = edited(second, "engines", "litert.int8", "latency", 0, "p50_ms", to=0.0072)
    second = edited(second, "settings", "prune", "ratio", to=0.25)
    found = cells(run(), second)
    assert (found["change"], found["change in %"]) == ("+0.56", "-10.0")
    assert found["settings that changed"] == "prune.ratio 0.5 -> 0.25"


def test_accuracies_on_other_images_and_latencies_of_another_batch_have_no_change() -> None:
    second = edited(edited(run(), "batch_size", to=32), "engines", "litert.int8", "samples", to=100)
    found = cells(run(), second)
    assert (found["change"], found["change in %"]) == ("-", "-")


def test_an_accuracy_on_another_data_set_is_no_change() -> None:
    other = edited(run(), "dataset", to="mnist")
    assert cells(run(), other)["change"] == "-"


def test_many_changed_settings_are_counted() -> None:
    second = edited(run(), "settings", to={})
    assert cells(run(), second)["settings that changed"].endswith(" more")


def test_a_run_without_an_engine_is_a_line_of_unknowns() -> None:
    found = cells(run(), run("train"))
    assert (found["trained"], found["engine"], found["p50 ms"]) == ("99.17 %", "-", "-")


def test_gates_are_told() -> None:
    missed = GateSummary(gate="max_p50_ms", state="missed")
    passed = GateSummary(gate="max_size_mb", state="passed")
    assert cells(edited(run(), "gates", to=(missed, passed)))["outcome"] == "missed: max_p50_ms"
    assert cells(edited(run(), "gates", to=(passed,)))["outcome"] == "passed"


def test_a_run_that_failed_says_where_and_is_not_what_the_next_is_compared_with() -> None:
    failed = edited(run(), "state", to="failed")
    failed = edited(edited(failed, "ended_at", to="prune"), "settings", "prune", "ratio", to=0.9)
    assert cells(run(), failed)["outcome"] == "failed in prune"
    assert cells(run(), failed, run())["settings that changed"] == ""


def test_the_score_of_another_task_is_called_by_its_metric() -> None:
    other = summarize(report_of(judged(records(), mean_iou=0.8)))
    segmented = Entry.model_validate({**dict(other), "version": 1, "id": "77777777"})
    assert cells(segmented, segmented)["mean IoU"] == "80.00 %"
    assert cells(run(), segmented)["score"] == "80.00 %"
