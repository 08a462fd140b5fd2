from __future__ import annotations

import copy
from typing import Any

from pipeline.report.history_table import trend
from pipeline.results.assemble import assemble
from pipeline.results.summary import summarize
from tests.pipeline.records import records


def run(**changes: Any) -> dict[str, Any]:
    found = {**summarize(assemble(records(), {})), "id": "3f9c2a51"}
    return copy.deepcopy({**found, **changes})


def cells(*runs: dict[str, Any]) -> dict[str, str]:
    grid = trend(runs)
    return dict(zip(grid.columns, grid.rows[-1], strict=True))


def test_the_first_run_has_numbers_and_no_changes() -> None:
    assert cells(run()) == {
        "id": "3f9c2a51",
        "time": "2026-07-01 10:00",
        "trained": "99.17 %",
        "engine": "litert.int8",
        "accuracy": "98.61 %",
        "change": "-",
        "p50 ms": "0.0080",
        "change in %": "-",
        "size": "120 kB",
        "gates": "",
        "settings that changed": "",
    }


def test_changes_are_against_the_run_before() -> None:
    second = run()
    engine = second["engines"]["litert.int8"]
    engine["top1"] += 2 / 360
    engine["latency"][0]["p50_ms"] *= 0.9
    second["settings"]["prune"]["ratio"] = 0.25
    found = cells(run(), second)
    assert (found["change"], found["change in %"]) == ("+0.56", "-10.0")
    assert found["settings that changed"] == "prune.ratio 0.5 -> 0.25"


def test_accuracies_on_other_images_and_latencies_of_another_batch_have_no_change() -> None:
    second = run(batch_size=32)
    second["engines"]["litert.int8"]["samples"] = 100
    found = cells(run(), second)
    assert (found["change"], found["change in %"]) == ("-", "-")


def test_many_changed_settings_are_counted() -> None:
    second = run(settings={})
    assert cells(run(), second)["settings that changed"].endswith(" more")


def test_a_run_without_an_engine_is_a_line_of_unknowns() -> None:
    alone = {**summarize(assemble(records("train"), {})), "id": "b07d11e8"}
    found = cells(run(), alone)
    assert (found["trained"], found["engine"], found["p50 ms"]) == ("99.17 %", "-", "-")


def test_gates_are_told() -> None:
    gates = [
        {"gate": "max_p50_ms", "state": "missed"},
        {"gate": "max_size_mb", "state": "passed"},
    ]
    assert cells(run(gates=gates))["gates"] == "missed: max_p50_ms"
    assert cells(run(gates=gates[1:]))["gates"] == "passed"
