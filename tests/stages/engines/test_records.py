from __future__ import annotations

from pathlib import Path

import pytest

from stages.engines import amx, records
from stages.engines.base import Blocker
from stages.errors import EngineError
from stages.results.engines import Chosen
from stages.settings import Gpu
from tests.stages.engine_records import record, result
from tests.stages.graphs import SIGNATURE


def test_the_list_survives_the_way_through_its_file(tmp_path: Path) -> None:
    listed = [
        record("litert.int8").built(tmp_path / "litert.int8.tflite").ran(),
        record("tensorrt.fp16").stopped(EngineError("no GPU", "buy one")),
    ]
    records.write(listed, tmp_path)
    assert records.read(tmp_path) == listed


def test_an_engine_without_a_file_is_unavailable_and_one_with_a_file_is_built() -> None:
    error = EngineError("what", "how")
    missing = record("tensorrt.int8").stopped(error)
    assert (missing.state, missing.reason, missing.fix) == ("unavailable", "what", "how")
    waiting = record("tensorrt_rtx.int8").built(Path("a/b.rtx")).stopped(error)
    assert (waiting.state, waiting.file) == ("built_not_run", "b.rtx")
    running = waiting.ran()
    assert (running.state, running.reason, running.fix) == ("ran", None, None)
    assert record("litert.int8").stopped(EngineError("what")).fix is None


def test_a_blocker_is_raised_with_its_reason_and_its_fix() -> None:
    records.require(None)
    with pytest.raises(EngineError, match="no GPU") as caught:
        records.require(Blocker("no GPU", "buy one"))
    assert caught.value.hint == "buy one"


def test_a_runner_has_the_threads_asked_for(tmp_path: Path) -> None:
    started = record("litert.int8").built(tmp_path / "engine.tflite")
    runner = records.runner(started, tmp_path, SIGNATURE, 3)
    assert (runner.threads, runner.gpu) == (3, Gpu())
    on_gpu = records.runner(started, tmp_path, SIGNATURE, 3, Gpu(streams=4))
    assert on_gpu.gpu.streams == 4
    assert runner.file == tmp_path / "engine.tflite"


def test_the_fastest_has_the_lowest_p50_at_the_smallest_batch() -> None:
    slow, quick = result("a.fp32", (1, 2.0), (32, 1.0)), result("b.fp32", (1, 1.0), (32, 9.0))
    assert records.fastest([slow, quick]) is quick
    assert records.fastest([result("c.fp32"), slow]) is slow


def test_where_nothing_ran_nothing_is_fastest() -> None:
    assert records.fastest([result("a.fp32")]) is None
    assert records.fastest([]) is None


def choice(**engines: str) -> dict[int, Chosen]:
    """What was chosen, as in choice(b1="litert.int8")."""
    certain = {"threads": 1, "stable": True, "within_budget": True}
    return {int(size[1:]): Chosen(engine=name, **certain) for size, name in engines.items()}


def test_the_chosen_engine_is_that_of_the_smallest_batch_if_it_was_timed() -> None:
    slow, quick = result("litert.int8", (1, 2.0)), result("onnxruntime.fp32", (1, 1.0))
    idle = result("openvino.int8")
    both = choice(b32="onnxruntime.fp32", b4="litert.int8")
    assert records.chosen([slow, quick], both) is slow
    assert records.chosen([slow, quick], {}) is quick
    assert records.chosen([slow, quick, idle], choice(b1="openvino.int8")) is quick
    assert records.chosen([idle], both) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[{", r"engines\.json is damaged: Invalid JSON"),
        ("{}", r"engines\.json is damaged: .*array"),
        ('[{"backend": "litert"}]', r"engines\.json\[0\]\['precision'\] is damaged"),
        ('[{"backend": "tflite", "precision": "int8"}]', r"lists tflite\.int8, expected one of"),
    ],
)
def test_a_list_that_is_damaged_or_of_another_version_is_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / records.FILE).write_text(text)
    with pytest.raises(EngineError, match=message) as caught:
        records.read(tmp_path)
    assert caught.value.hint == "run: pipeline run build --force"


def test_a_list_that_is_missing_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"engines\.json cannot be read: No such file"):
        records.read(tmp_path)


def test_engines_that_decline_amx_are_opened_before_those_that_may_take_it(tmp_path: Path) -> None:
    (tmp_path / "plain.tflite").write_bytes(b"graph")
    (tmp_path / "remarked.tflite").write_bytes(b"graph" + amx.WITHOUT_AMX)
    listed = [
        record("openvino.int8").built(tmp_path / "plain.tflite"),
        record("litert.fp32").built(tmp_path / "plain.tflite"),
        record("litert.int8").built(tmp_path / "remarked.tflite"),
        record("tensorrt.int8"),
        record("onnxruntime.fp32").built(tmp_path / "plain.tflite"),
    ]
    order = [str(each.name) for each in records.opening_order(listed, tmp_path)]
    cpu = ["onnxruntime.fp32", "litert.int8", "litert.fp32", "openvino.int8"]
    assert order == [*cpu, "tensorrt.int8"]
