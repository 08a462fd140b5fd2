from __future__ import annotations

from pipeline.comparison.model import SizeDifference
from pipeline.comparison.sizes import compare
from tests.pipeline.comparison.samples import altered, run


def test_parameters_and_sizes_of_models_and_engines_are_compared() -> None:
    after = altered(run(), "stages", "prune", "parameters", to=54_000)
    found = {(row.what, row.kind): row for row in compare(run().summary, after.summary)}
    assert found["prune", "parameters"] == SizeDifference(
        what="prune", kind="parameters", before=108_000, after=54_000, ratio=0.5
    )
    assert found["litert.int8", "size_bytes"].ratio == 1.0
    assert ("benchmark", "size_bytes") not in found
    assert ("train", "multiply_adds") in found


def test_what_only_one_run_has_is_left_out() -> None:
    after = altered(run(), "stages", to={})
    after = altered(after, "engines", "litert.int8", "size_bytes", to=None)
    whats = [row.what for row in compare(run().summary, altered(after, "engine", to=None).summary)]
    assert "onnxruntime.int8" in whats
    assert "prune" not in whats
    assert "litert.int8" not in whats
