from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stages.engines import amx, records
from stages.engines.base import Blocker
from stages.engines.records import Entry
from stages.errors import EngineError
from tests.stages.graphs import SIGNATURE


def measured(*rows: tuple[int, float]) -> dict[str, Any]:
    return {"latency": [{"batch_size": batch, "p50_ms": p50} for batch, p50 in rows]}


def test_the_list_survives_the_way_through_its_file(tmp_path: Path) -> None:
    entries = [
        Entry("litert", "int8").built(tmp_path / "litert.int8.tflite").ran(),
        Entry("tensorrt", "fp16").stopped(EngineError("no GPU", "buy one")),
    ]
    records.write(entries, tmp_path)
    assert records.read(tmp_path) == entries


def test_an_engine_without_a_file_is_unavailable_and_one_with_a_file_is_built() -> None:
    error = EngineError("what", "how")
    missing = Entry("tensorrt", "int8").stopped(error)
    assert (missing.state, missing.reason, missing.fix) == ("unavailable", "what", "how")
    waiting = Entry("tensorrt_rtx", "int8").built(Path("a/b.rtx")).stopped(error)
    assert (waiting.state, waiting.file) == ("built_not_run", "b.rtx")
    running = waiting.ran()
    assert (running.state, running.reason, running.fix) == ("ran", None, None)
    assert Entry("litert", "int8").stopped(EngineError("what")).fix is None


def test_a_blocker_is_raised_with_its_reason_and_its_fix() -> None:
    records.require(None)
    with pytest.raises(EngineError, match="no GPU") as caught:
        records.require(Blocker("no GPU", "buy one"))
    assert caught.value.hint == "buy one"


def test_a_runner_has_the_threads_asked_for(tmp_path: Path) -> None:
    entry = Entry("litert", "int8").built(tmp_path / "engine.tflite")
    runner = records.runner(entry, tmp_path, SIGNATURE, 3)
    assert runner.threads == 3
    assert runner.file == tmp_path / "engine.tflite"


def test_the_fastest_has_the_lowest_p50_at_the_smallest_batch() -> None:
    slow, quick = measured((1, 2.0), (32, 1.0)), measured((1, 1.0), (32, 9.0))
    assert records.fastest([slow, quick]) is quick
    assert records.fastest([measured(), slow]) is slow


def test_the_chosen_engine_is_that_of_the_smallest_batch_if_it_was_timed() -> None:
    slow = {"backend": "litert", "precision": "int8", **measured((1, 2.0))}
    quick = {"backend": "onnxruntime", "precision": "fp32", **measured((1, 1.0))}
    idle = {"backend": "openvino", "precision": "int8", **measured()}
    choice = {"32": {"engine": "onnxruntime.fp32"}, "4": {"engine": "litert.int8"}}
    assert records.chosen([slow, quick], choice) is slow
    assert records.chosen([slow, quick], {}) is quick
    assert records.chosen([slow, quick, idle], {"1": {"engine": "openvino.int8"}}) is quick
    assert records.chosen([idle], choice) is None


def test_where_nothing_ran_nothing_is_fastest() -> None:
    assert records.fastest([measured()]) is None
    assert records.fastest([]) is None
    assert records.summary(None, "a.rtx") == {
        "model": {"file": "a.rtx", "parameters": None, "multiply_adds": None},
        "accuracy": None,
        "latency": [],
    }


def test_engines_that_decline_amx_are_opened_before_those_that_may_take_it(tmp_path: Path) -> None:
    (tmp_path / "plain.tflite").write_bytes(b"graph")
    (tmp_path / "remarked.tflite").write_bytes(b"graph" + amx.WITHOUT_AMX)
    entries = [
        Entry("openvino", "int8").built(tmp_path / "plain.tflite"),
        Entry("litert", "fp32").built(tmp_path / "plain.tflite"),
        Entry("litert", "int8").built(tmp_path / "remarked.tflite"),
        Entry("tensorrt", "int8"),
        Entry("onnxruntime", "fp32").built(tmp_path / "plain.tflite"),
    ]
    order = [each.name for each in records.opening_order(entries, tmp_path)]
    cpu = ["onnxruntime.fp32", "litert.int8", "litert.fp32", "openvino.int8"]
    assert order == [*cpu, "tensorrt.int8"]
