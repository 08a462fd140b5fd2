from __future__ import annotations

from pipeline.comparison.sizes import compare
from tests.pipeline.comparison.samples import run


def test_parameters_and_sizes_of_models_and_engines_are_compared() -> None:
    before, after = run().summary, run().summary
    after["stages"]["prune"]["parameters"] = 54_000
    found = {(row["what"], row["kind"]): row for row in compare(before, after)}
    assert found["prune", "parameters"] == {
        "what": "prune",
        "kind": "parameters",
        "before": 108_000,
        "after": 54_000,
        "ratio": 0.5,
    }
    assert found["litert.int8", "size_bytes"]["ratio"] == 1.0
    assert ("benchmark", "size_bytes") not in found
    assert ("train", "multiply_adds") in found


def test_what_only_one_run_has_is_left_out() -> None:
    before, after = run().summary, run().summary
    del after["stages"]["prune"]
    del after["engines"]["litert.int8"]["size_bytes"]
    whats = [row["what"] for row in compare(before, {**after, "engine": None})]
    assert "prune" not in whats
    assert "litert.int8" not in whats
