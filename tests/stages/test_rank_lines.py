"""Signals and volumes from their data to the engines, stage by stage, on sums of sines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from pipeline.bundle.export import Export, export
from pipeline.core.plan import PLAN
from stages.artifacts.signature import Signature
from stages.settings import Build, Convert, Data, Model, Prune, Quantize, Settings, Train
from tests import built_artifact
from tests.pipeline.children import call
from tests.stages import lines

pytestmark = pytest.mark.usefixtures("brief_timing")

LENGTH, CLASSES = 64, 4
BACKENDS = ("onnxruntime", "litert")
LOST = 0.03
"""Share of its accuracy that INT8 may lose against the float engine of the same network: of 128
samples three, for rounding differs between processors."""


Pair = tuple[np.ndarray, np.ndarray]


def waves(count: int, seed: int) -> Pair:
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


def run_line(root: Path, data: Data, network: keras.Model, train: Train) -> dict[str, Any]:
    """What each stage measured; its artifacts are in folders of `root`."""
    keras.utils.set_random_seed(0)
    network.save(root / "network.keras")
    settings = Settings(
        data=data,
        model=Model(source=str(root / "network.keras")),
        train=train,
        prune=Prune(ratio=0.25, channel_multiple=4, epochs=1, batch_size=32, learning_rate=1e-2),
        quantize=Quantize(epochs=0, calibration="percentile"),
        convert=Convert(parity_samples=128),
        build=Build(backends=BACKENDS, batch_sizes=(1,), threads=(1,), max_seconds_per_engine=0.01),
    )
    return lines.run(root, settings, last="build")


def saved(file: Path, train: Pair, test: Pair) -> str:
    np.savez(file, x_train=train[0], y_train=train[1], x_test=test[0], y_test=test[1])
    return str(file)


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The artifacts of a line of signals, and what each stage measured."""
    root = tmp_path_factory.mktemp("line")
    file = saved(root / "waves.npz", waves(600, seed=1), waves(300, seed=2))
    data = Data(name="npz", kind="signals", path=file, scale=0.5, calibration_samples=64)
    training = Train(epochs=6, batch_size=32, learning_rate=1e-2)
    return root, run_line(root, data, network(), training)


def test_int8_tells_frequencies_apart_as_float_does(line) -> None:
    _, found = line
    scores = {str(each.name): each.accuracy.score for each in found["build"].engines}
    assert found["train"].accuracy.score > 0.9
    for backend in BACKENDS:
        assert scores[f"{backend}.int8"] >= (1 - LOST) * scores[f"{backend}.fp32"] > 0.9


def test_every_engine_of_signals_answers_as_its_simulation(line) -> None:
    _, found = line
    assert found["convert"].details.first_mismatch is None
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


def right(root: Path, found: dict[str, Any], file: Path, pair: Pair) -> float:
    """Share of the raw samples in `file` that the bundle of the INT8 engine, exported from what was
    built in `root` and asked by `pipeline predict`, tells right."""
    artifacts = built_artifact.adopt(root / "artifacts", root / "build", found["build"])
    export(Export(root / "bundle", "litert.int8"), artifacts, PLAN)
    np.save(file, pair[0])
    done = call("predict", str(root / "bundle"), str(file), "--format", "json", "--top", "1")
    assert done.exit_code == 0, done.output
    said = [int(each["top"][0]["class"]) for each in json.loads(done.stdout)]
    return float(np.mean(np.array(said) == pair[1]))


def test_a_bundle_of_a_line_of_signals_takes_them_as_they_are(line) -> None:
    assert right(*line, line[0] / "new.npy", waves(200, seed=3)) > 0.9


SIDE = 8


def ripples(count: int, seed: int) -> Pair:
    """Volumes of one sine each, of any phase and in noise: along the axis that is the class."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, count)
    places = np.stack(np.meshgrid(*[np.arange(SIDE)] * 3, indexing="ij"))
    phases = random.uniform(0, 2 * np.pi, (count, 1, 1, 1))
    values = np.sin(2 * np.pi * places[labels] / 4 + phases)
    return (values + random.normal(0, 0.2, values.shape)).astype(np.float32), labels


def volume_network() -> keras.Model:
    volume = keras.Input((SIDE, SIDE, SIDE, 1), name="volume")
    x = layers.ReLU()(layers.Conv3D(16, 3, strides=2, padding="same")(volume))
    x = layers.GlobalAveragePooling3D()(layers.ReLU()(layers.Conv3D(16, 1)(x)))
    return keras.Model(volume, layers.Dense(3)(x))


def test_a_line_of_volumes_ends_in_engines_that_tell_their_axis(tmp_path: Path) -> None:
    file = saved(tmp_path / "ripples.npz", ripples(300, seed=1), ripples(150, seed=2))
    data = Data(name="npz", kind="volumes", path=file, scale=1.0, calibration_samples=32)
    training = Train(epochs=6, batch_size=32, learning_rate=2e-2)
    found = run_line(tmp_path, data, volume_network(), training)
    assert right(tmp_path, found, tmp_path / "new.npy", ripples(100, seed=3)) > 0.9
    scores = {str(each.name): each.accuracy.score for each in found["build"].engines}
    for backend in BACKENDS:
        assert scores[f"{backend}.int8"] >= (1 - LOST) * scores[f"{backend}.fp32"] > 0.9
