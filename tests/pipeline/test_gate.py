from __future__ import annotations

from typing import Any

import pytest

from pipeline import gate
from pipeline.reports import assemble
from stages.errors import GateFailed


def accuracy(right: int) -> dict[str, Any]:
    return {"top1": right / 1000, "samples": 1000}


def engine(
    name: str, right: int, p50_ms: float, batch_size: int = 1, state: str = "ran"
) -> dict[str, Any]:
    return {
        "backend": name,
        "precision": "int8",
        "state": state,
        "accuracy": accuracy(right),
        "latency": [{"batch_size": batch_size, "p50_ms": p50_ms}],
    }


def record(stage: str, measurements: dict[str, Any], **inputs: dict[str, str]) -> dict[str, Any]:
    files = {"file": {"sha256": stage, "size_bytes": 1}}
    return {"stage": stage, "files": files, "inputs": inputs, "measurements": measurements}


def report(*engines: dict[str, Any], made_from: str = "train") -> dict[str, Any]:
    """A model with 99 % and engines that were built from the train stage's `made_from`."""
    records = {
        "train": record("train", {"accuracy": accuracy(990)}),
        "benchmark": record("benchmark", {"engines": list(engines)}, train={"file": made_from}),
    }
    return assemble(records, {})


def test_an_engine_within_the_gate_passes() -> None:
    gate.check(report(engine("litert", 986, 0.1)), 0.5)


def test_a_loss_of_exactly_the_allowed_points_passes() -> None:
    for right in range(900, 991):
        gate.check(report(engine("litert", right, 0.1)), (990 - right) / 10)


def test_an_engine_better_than_the_model_passes_a_gate_of_zero() -> None:
    gate.check(report(engine("litert", 995, 0.1)), 0.0)


def test_a_loss_beyond_the_gate_fails_with_what_was_got_and_what_is_allowed() -> None:
    with pytest.raises(GateFailed) as caught:
        gate.check(report(engine("litert", 979, 0.1)), 1.0)
    assert caught.value.message == (
        "litert int8 has 97.90 % top-1 accuracy, 1.10 points below the trained model; allowed are 1"
    )
    assert caught.value.exit_code == 3


def test_the_fastest_engine_at_the_smallest_batch_decides() -> None:
    slow, fast = engine("slow", 990, 0.2), engine("fast", 900, 0.1)
    large = engine("large", 990, 0.01, batch_size=32)
    with pytest.raises(GateFailed, match="fast int8"):
        gate.check(report(slow, fast, large), 1.0)
    gate.check(report(engine("slow", 900, 0.2), engine("fast", 990, 0.1)), 1.0)


@pytest.mark.parametrize("engines", [(), (engine("tensorrt", 990, 0.1, state="built_not_run"),)])
def test_a_gate_with_nothing_to_compare_fails(engines: tuple[dict[str, Any], ...]) -> None:
    with pytest.raises(GateFailed, match="nothing to compare"):
        gate.check(report(*engines), 1.0)


def test_the_gate_is_due_only_for_a_benchmark_of_the_present_model() -> None:
    assert gate.is_due(report(engine("litert", 990, 0.1)))
    assert not gate.is_due(report(engine("litert", 990, 0.1), made_from="another"))
    assert not gate.is_due(assemble({"train": record("train", {})}, {}))
