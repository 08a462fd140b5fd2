from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from stages.engines import litert, onnxruntime
from stages.engines.base import Engine, Images, Logits
from stages.measurement import clock, throughput
from tests.stages import inputs
from tests.stages.engine_records import record
from tests.stages.graphs import SIGNATURE, images


def test_engines_that_fill_the_cores_are_closed_but_for_the_one_that_was_open(
    converted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The threads of an engine and those that it leaves free make up the machine."""
    monkeypatch.setattr(throughput, "usable_cores", lambda: 3)
    opened: list[Engine] = []
    open_once = litert.Runner.open
    monkeypatch.setattr(
        litert.Runner, "open", lambda self: (opened.append(self), open_once(self))[1]
    )
    entry = record("litert.int8", file="model.int8.tflite")
    batch: Images = SIGNATURE.preprocess(images(4))
    with litert.Runner(converted / "model.int8.tflite", SIGNATURE) as engine:
        count, (rate,) = throughput.saturated_images_per_second(entry, engine, [batch], 0.02)
        assert engine.infer(batch).shape == (4, 4)
        assert [other._is_open for other in opened] == [True, False, False]
    assert count == 3
    assert rate > 0


def test_an_engine_with_more_threads_than_cores_fills_them_alone(
    converted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throughput, "usable_cores", lambda: 2)
    entry = record("litert.int8", file="model.int8.tflite")
    with litert.Runner(converted / "model.int8.tflite", SIGNATURE, 4) as engine:
        batch: Images = SIGNATURE.preprocess(images(1))
        assert throughput.saturated_images_per_second(entry, engine, [batch], 0.01)[0] == 1


def test_samples_of_several_inputs_are_counted_and_not_the_inputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throughput, "usable_cores", lambda: 1)
    monkeypatch.setattr(clock, "saturated", lambda calls, seconds: 10.0)  # calls per second
    onnx.save(inputs.tables(), tmp_path / "engine.onnx")
    entry = record("onnxruntime.fp32", file="engine.onnx")
    batch = inputs.TABLES.feed(inputs.TABLES.noise(7))
    with onnxruntime.Runner(tmp_path / "engine.onnx", inputs.TABLES) as engine:
        rates = throughput.saturated_images_per_second(entry, engine, [batch], 0.01)
    assert rates == (1, [70.0])


def test_images_of_many_batches_in_a_row_are_counted(converted: Path) -> None:
    batch: Images = SIGNATURE.preprocess(images(4))
    seen: list[int] = []

    class Counted(litert.Runner):
        def _infer(self, sent: Images) -> Logits:
            seen.append(len(sent))
            return super()._infer(sent)

    with Counted(converted / "model.int8.tflite", SIGNATURE) as engine:
        rate = throughput.pipelined_images_per_second(engine, batch, 0.02)
    assert rate > 0
    assert len(seen) % throughput.PIPELINED == 0
    assert set(seen) == {4}
