from __future__ import annotations

import dataclasses
import logging
import tempfile
from contextlib import ExitStack

import keras
import numpy as np
import pytest
from keras import layers

from stages import progress
from stages.artifacts.signature import Signature
from stages.engines import litert, onnxruntime
from stages.errors import EngineError
from stages.measurement.alone import WAITS, alone_on_machine
from stages.measurement.engine_process import EngineProcess
from stages.pruning import stopwatch as module
from stages.pruning.stopwatch import Stopwatch, write_graph
from tests.stages.networks import NETWORKS, SHAPE, images, randomized

SIGNATURE = Signature(SHAPE, tuple("abcd"), 1 / 255, 0.0)


def heavy(channels: int) -> keras.Model:
    image = keras.Input((32, 32, 3), name="image")
    x = image
    for _ in range(3):
        x = layers.Conv2D(channels, 3, padding="same", activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(4)(x))


def test_a_network_of_a_sixteenth_of_the_work_takes_a_smaller_share_of_the_time():
    signature = Signature((32, 32, 3), tuple("abcd"), 1 / 255, 0.0)
    some = images(8, shape=(32, 32, 3))
    with Stopwatch("onnxruntime.fp32", heavy(128), signature, some) as stopwatch:
        small, same = stopwatch.ratios([heavy(32), heavy(128)])
    assert 0 < small < same
    assert stopwatch.reference_ms > 0


def test_a_candidate_is_timed_without_the_files_of_an_earlier_one(monkeypatch):
    """LiteRT would take the form by pairs of columns that only the first candidate has."""
    seen = []

    class Watched(EngineProcess):
        def __enter__(self):
            seen.append({file.name for file in self._source.parent.iterdir()})
            return super().__enter__()

    monkeypatch.setattr(module, "EngineProcess", Watched)
    narrow, wide = (paired_network(filters) for filters in (8, 24))
    with Stopwatch("litert.fp32", wide, SIGNATURE, images(4)) as stopwatch:
        for candidate in (narrow, wide):
            stopwatch.ratios([candidate])
    plain = {"model.fp32.tflite"}
    assert seen == [plain, {*plain, "model.fp32.pairs.tflite"}, plain]


def test_candidates_wait_until_nothing_else_is_timed(monkeypatch, tmp_path, caplog):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    holder = ExitStack()
    holder.enter_context(alone_on_machine())

    class Ends(logging.Handler):
        def emit(self, record):
            if record.getMessage() == WAITS:
                holder.close()

    monkeypatch.setattr(progress.LOGGER, "handlers", [*progress.LOGGER.handlers, Ends()])
    caplog.set_level(logging.INFO)
    network = NETWORKS["plain"]()
    with Stopwatch("onnxruntime.fp32", network, SIGNATURE, images(4)) as stopwatch:
        assert stopwatch.ratios([network])[0] > 0
    assert caplog.messages.count(WAITS) == 1


def test_a_reference_that_cannot_be_timed_leaves_no_folder(monkeypatch, tmp_path):
    def fails(*_):
        raise EngineError("no")

    monkeypatch.setattr(module, "write_graph", fails)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    stopwatch = Stopwatch("onnxruntime.fp32", NETWORKS["plain"](), SIGNATURE, images(4))
    with pytest.raises(EngineError), stopwatch:
        pass
    assert not list(tmp_path.iterdir())


def paired_network(filters):
    """A network whose convolution has a form by pairs of columns where it is narrow."""
    image = keras.Input(SHAPE, name="image")
    x = layers.Flatten()(layers.Conv2D(filters, 3, activation="relu")(image))
    return keras.Model(image, layers.Dense(4)(x))


@pytest.mark.parametrize(
    ("name", "runner"),
    [
        ("model.fp32.onnx", onnxruntime.Runner),
        ("model.int8.cpu.onnx", onnxruntime.Runner),
        ("model.fp32.tflite", litert.Runner),
        ("model.int8.tflite", litert.Runner),
    ],
)
def test_candidates_compute_what_the_model_computes_from_raw_pixels(tmp_path, name, runner):
    model = randomized(NETWORKS["residual"]())
    pixels = np.random.default_rng(0).integers(0, 256, (64, *SHAPE), np.uint8)
    raw, normal = dataclasses.replace(SIGNATURE, dtype="uint8"), SIGNATURE.preprocess(pixels)
    write_graph(model, tmp_path / name, raw, normal)
    with runner(tmp_path / name, raw, 1) as engine:
        found = engine.infer(pixels)
    expected = np.asarray(model(normal))
    assert np.abs(found - expected).max() < (0.3 if "int8" in name else 1e-4) * np.ptp(expected)


@pytest.mark.parametrize(
    "name", ["model.fp16.onnx", "model.int8.tensorrt.onnx", "model.int8.tensorrt8.onnx"]
)
def test_graphs_for_tensorrt_are_written(tmp_path, name):
    write_graph(NETWORKS["plain"](), tmp_path / name, SIGNATURE, images(4))
    assert (tmp_path / name).stat().st_size > 1000


def test_a_graph_that_is_not_known_is_refused(tmp_path):
    with pytest.raises(EngineError, match=r"engines of model\.int4\.onnx cannot be timed"):
        write_graph(NETWORKS["plain"](), tmp_path / "model.int4.onnx", SIGNATURE, images(1))


def test_an_engine_that_this_machine_lacks_is_refused_at_once(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EngineError, match="the package ai-edge-litert is not installed"):
        Stopwatch("litert.int8", NETWORKS["plain"](), SIGNATURE, images(1))
