from __future__ import annotations

import hashlib
import shutil

import keras
import numpy as np
import pytest

from stages import evaluate, keras_files, quantize, ranges
from stages.keras_graph.cost import kernel_of
from stages.keras_graph.fake_quant import simulate
from stages.keras_graph.fold import fold, output_axis
from stages.keras_graph.placement import points
from stages.numerics import qparams
from stages.settings import Quantize, QuantizeStage
from tests.stages.conftest import DIGITS


@pytest.fixture(scope="module")
def quantized(trained, tmp_path_factory):
    out = tmp_path_factory.mktemp("quantize")
    settings = QuantizeStage(quantize=Quantize(epochs=1))
    return out, quantize.run(settings, {"prune": trained}, out)


def test_the_artifact_is_a_plain_keras_model_with_ranges_and_signature(quantized):
    out, _ = quantized
    assert sorted(file.name for file in out.iterdir()) == [
        "model.keras",
        "ranges.json",
        "signature.json",
    ]
    model = keras_files.load(out / "model.keras")
    assert list(points(model, DIGITS)) == list(ranges.read(out))


def test_int8_keeps_the_accuracy_of_the_float_model(quantized, trained, digits):
    _, measured = quantized
    model = keras_files.load(trained / "model.keras")
    before = evaluate.accuracy(model, digits.test, DIGITS)["top1"]
    assert measured["accuracy"]["top1"] >= before - 0.01


def test_the_recorded_accuracy_is_that_of_the_artifact(quantized, digits):
    out, measured = quantized
    model = keras_files.load(out / "model.keras")
    simulated = simulate(model, points(model, DIGITS), ranges.read(out))
    assert evaluate.accuracy(simulated, digits.test, DIGITS) == measured["accuracy"]


def test_biases_sit_on_the_integer_grid(quantized):
    out, _ = quantized
    model, found = keras_files.load(out / "model.keras"), ranges.read(out)
    source = {"conv1": "image", "conv2": "re_lu", "dense1": "re_lu_1"}
    for name, point in zip(source, list(found), strict=False):
        layer = model.get_layer(name)
        kernel = kernel_of(layer).numpy()
        step = qparams.kernel_scales(kernel, output_axis(layer)) * found[point].scale("cpu")
        whole = layer.bias.numpy().astype(np.float64) / step.astype(np.float64)
        assert np.abs(whole - np.round(whole)).max() < 1e-2


def test_the_calibration_images_are_recorded_and_are_the_calibration_split(quantized, digits):
    _, measured = quantized
    found = measured["details"]["calibration"]
    expected = hashlib.sha256(digits.calibration.images.tobytes()).hexdigest()
    assert (found["images_sha256"], found["samples"]) == (expected, 128)


def test_ranges_come_from_the_calibration_images_alone(trained, digits):
    model = fold(keras_files.load(trained / "model.keras"))
    placed = points(model, DIGITS)
    batches = quantize.calibration_batches(digits, DIGITS)
    found = quantize.calibrate(model, placed, batches, Quantize())
    images = DIGITS.preprocess(digits.calibration.images)
    for name, point in placed.items():
        seen = keras.Model(model.inputs[0], point.tensor)(images).numpy()
        assert found[name].amax == pytest.approx(np.abs(seen).max(), rel=1e-3)
        assert found[name].saturated_share == 0.0


def test_a_percentile_clips_the_rarest_values_and_counts_them(trained, digits):
    model = fold(keras_files.load(trained / "model.keras"))
    placed = points(model, DIGITS)
    batches = quantize.calibration_batches(digits, DIGITS)
    widest = quantize.calibrate(model, placed, batches, Quantize())
    knobs = Quantize(calibration="percentile", percentile=99.0)
    clipped = quantize.calibrate(model, placed, batches, knobs)
    assert clipped["dense1_activation"].amax < widest["dense1_activation"].amax
    assert 0 < clipped["dense1_activation"].saturated_share <= 0.01


def test_without_epochs_the_calibrated_model_is_kept(trained, tmp_path):
    settings = QuantizeStage(quantize=Quantize(epochs=0))
    details = quantize.run(settings, {"prune": trained}, tmp_path)["details"]
    assert details["kept"] == "calibrated"
    assert details["trained_validation_top1"] is None


def test_a_fine_tune_that_ruins_the_model_is_thrown_away(trained, tmp_path):
    settings = QuantizeStage(quantize=Quantize(epochs=1, learning_rate=1.0))
    details = quantize.run(settings, {"prune": trained}, tmp_path)["details"]
    assert details["trained_validation_top1"] < details["calibrated_validation_top1"]
    assert details["kept"] == "calibrated"


def test_the_input_artifact_is_not_touched(trained, tmp_path):
    copy = tmp_path / "prune"
    shutil.copytree(trained, copy)
    before = (copy / "model.keras").read_bytes()
    out = tmp_path / "out"
    out.mkdir()
    quantize.run(QuantizeStage(quantize=Quantize(epochs=0)), {"prune": copy}, out)
    assert (copy / "model.keras").read_bytes() == before
