"""Signals from their data to the engines, stage by stage, on sums of sines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from stages import build, convert, prune, quantize, train
from stages.artifacts.signature import Signature
from stages.settings import (
    Build,
    BuildStage,
    Convert,
    ConvertStage,
    Data,
    Model,
    Prune,
    PruneStage,
    Quantize,
    QuantizeStage,
    Train,
    TrainStage,
)

LENGTH, CLASSES = 64, 4
BACKENDS = ("onnxruntime", "litert")
LOST = 0.01
"""Share of its accuracy that INT8 may lose against the float engine of the same network."""


def waves(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sums of two sines, float64 (N, length): of 3 + 3 k periods for class k, and a weaker one of
    any frequency, each of any phase; and noise."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, count)
    time = np.linspace(0, 2 * np.pi, LENGTH, endpoint=False)

    def sines(periods: np.ndarray) -> np.ndarray:
        return np.sin(periods[:, None] * time + random.uniform(0, 2 * np.pi, (count, 1)))

    values = sines(3.0 + 3 * labels) + 0.5 * sines(random.uniform(1, 16, count))
    return values + random.normal(0, 0.2, values.shape), labels


def network() -> keras.Model:
    """A residual block of convolutions over time, a depthwise one, and the mean."""
    signal = keras.Input((LENGTH, 1), name="signal")
    x = layers.Conv1D(16, 7, strides=2, padding="same", use_bias=False)(signal)
    x = start = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.ReLU()(layers.Conv1D(16, 5, padding="same")(x))
    x = layers.Add()([layers.Conv1D(16, 5, padding="same")(x), start])
    x = layers.ReLU()(layers.DepthwiseConv1D(3, padding="same")(x))
    x = layers.GlobalAveragePooling1D()(layers.MaxPooling1D(2)(x))
    return keras.Model(signal, layers.Dense(CLASSES)(x))


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The artifacts of a line, and what each stage measured."""
    root = tmp_path_factory.mktemp("line")
    (signals, labels), (others, wanted) = waves(600, seed=1), waves(300, seed=2)
    file = root / "waves.npz"
    np.savez(file, x_train=signals, y_train=labels, x_test=others, y_test=wanted)
    keras.utils.set_random_seed(0)
    network().save(root / "network.keras")
    data = Data(name="npz", kind="signals", path=str(file), scale=0.5, calibration_samples=64)
    model = Model(source=str(root / "network.keras"))
    training = {"batch_size": 32, "learning_rate": 1e-2}
    pruning = Prune(ratio=0.25, channel_multiple=4, epochs=1, **training)
    building = Build(backends=BACKENDS, batch_sizes=(1,), threads=(1,), max_seconds_per_engine=0.01)
    stages: dict[str, tuple[Any, Any]] = {
        "train": (train, TrainStage(data=data, model=model, train=Train(epochs=8, **training))),
        "prune": (prune, PruneStage(data=data, model=model, prune=pruning)),
        "quantize": (
            quantize,
            QuantizeStage(
                data=data, model=model, quantize=Quantize(epochs=0, calibration="percentile")
            ),
        ),
        "convert": (
            convert,
            ConvertStage(data=data, model=model, convert=Convert(parity_samples=128)),
        ),
        "build": (build, BuildStage(build=building)),
    }
    found, folders = {}, dict[str, Path]()
    for name, (module, settings) in stages.items():
        folders[name] = root / name
        folders[name].mkdir()
        found[name] = module.run(settings, folders, folders[name])
    return root, found


def test_int8_tells_frequencies_apart_as_float_does(line) -> None:
    _, found = line
    scores = {str(each.name): each.accuracy.score for each in found["build"].engines}
    assert found["train"].accuracy.score > 0.9
    for backend in BACKENDS:
        assert scores[f"{backend}.int8"] >= (1 - LOST) * scores[f"{backend}.fp32"] > 0.9


def test_every_engine_of_signals_answers_as_its_simulation(line) -> None:
    _, found = line
    assert found["convert"].details.first_mismatch is None
    assert not found["convert"].details.takes_pictures
    assert found["build"].details.first_mismatch is None
    assert [each.reason for each in found["build"].engines if each.state != "ran"] == []


def test_every_kernel_of_a_signal_is_int8_in_litert_but_for_the_first(line) -> None:
    _, found = line
    kernels = found["build"].details.layers["litert.int8"]
    assert len(kernels) == 5
    assert {each.executed for each in kernels[1:]} == {"int8"}


def test_the_range_of_float_inputs_is_that_of_the_data_and_not_that_of_pixels(line) -> None:
    root, found = line
    values = 0.5 * np.load(root / "waves.npz")["x_train"]
    ranges = found["quantize"].details.ranges["signal"]
    assert values.min() <= ranges.low < -0.5
    assert 0.5 < ranges.high <= values.max()


def test_the_signature_says_that_engines_take_floats_of_this_length(line) -> None:
    root, _ = line
    signature = Signature.read(root / "build")
    assert (signature.input_shape, signature.layout) == ((LENGTH, 1), "NLC")
    assert (signature.data_dtype, signature.dtype) == ("float32", "float32")
