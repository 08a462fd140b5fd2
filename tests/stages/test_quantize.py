from __future__ import annotations

import hashlib
import json
import shutil

import numpy as np
import pytest

from stages import quantize
from stages.artifacts import ranges
from stages.keras_graph.cost import kernel_of
from stages.keras_graph.fake_quant import simulate
from stages.keras_graph.fold import fold
from stages.keras_graph.kernels import channel_axes
from stages.keras_graph.placement import points
from stages.models import files
from stages.numerics import qparams
from stages.settings import Quantize, QuantizeStage
from stages.training import evaluate
from tests.stages.conftest import DIGITS

pytestmark = pytest.mark.usefixtures("brief_timing")


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
    model = files.load(out / "model.keras")
    assert list(points(model, DIGITS)) == list(ranges.read(out, []))


def test_int8_keeps_the_accuracy_of_the_float_model(quantized, trained, digits):
    _, measured = quantized
    model = files.load(trained / "model.keras")
    before = evaluate.metric(model, digits.test, DIGITS)
    assert measured.accuracy.top1 >= before - 0.01


def test_the_recorded_accuracy_is_that_of_the_artifact(quantized, digits):
    out, measured = quantized
    model = files.load(out / "model.keras")
    simulated = simulate(model, points(model, DIGITS), ranges.read(out, []))
    assert evaluate.accuracy(simulated, digits.test, DIGITS) == measured.accuracy


def test_biases_sit_on_the_integer_grid(quantized):
    out, _ = quantized
    model, found = files.load(out / "model.keras"), ranges.read(out, [])
    source = {"conv1": "image", "conv2": "re_lu", "dense1": "re_lu_1"}
    for name, point in zip(source, list(found), strict=False):
        layer = model.get_layer(name)
        kernel = kernel_of(layer).numpy()
        step = qparams.kernel_scales(kernel, *channel_axes(layer)) * found[point].scale("cpu")
        whole = layer.bias.numpy().astype(np.float64) / step.astype(np.float64)
        assert np.abs(whole - np.round(whole)).max() < 1e-2


def test_the_calibration_images_are_recorded_and_are_the_calibration_split(quantized, digits):
    _, measured = quantized
    found = measured.details.calibration
    expected = hashlib.sha256(digits.calibration.images.tobytes()).hexdigest()
    assert (found.images_sha256, found.samples) == (expected, 128)


def test_auto_tries_a_method_per_tensor_and_each_for_all_and_keeps_the_most_accurate(quantized):
    out, measured = quantized
    found = measured.details.calibration
    assert found.validation_top1.keys() == {"per tensor", "max", "percentile", "entropy", "mse"}
    assert found.validation_top1[found.method] == max(found.validation_top1.values())
    assert found.methods.keys() == ranges.read(out, []).keys()
    assert found.method in {"per tensor", *found.methods.values()}


def test_a_method_that_is_asked_for_is_that_of_every_tensor(calibrated):
    found = calibrated[1].details.calibration
    assert found.validation_top1.keys() == set(found.methods.values()) == {"max"} == {found.method}


def test_a_layer_that_is_to_stay_float_gets_no_range(trained, tmp_path):
    settings = Quantize(epochs=0, calibration="max", exclude_layers=("first", "dense1"))
    details = quantize.run(QuantizeStage(quantize=settings), {"prune": trained}, tmp_path).details
    assert details.float_layers == ("conv1", "dense1")
    kept = json.loads((tmp_path / "ranges.json").read_text())
    assert [name for name, entry in kept.items() if entry is None] == list(details.float_points)
    assert len(details.float_points) == 2


def test_a_budget_that_holds_leaves_everything_in_int8(trained, tmp_path):
    settings = Quantize(epochs=0, calibration="max", max_accuracy_drop=2.0)
    details = quantize.run(QuantizeStage(quantize=settings), {"prune": trained}, tmp_path).details
    assert details.float_points == details.sensitivity == ()


@pytest.fixture(scope="module")
def lopsided(trained, tmp_path_factory):
    """The trained network with one channel a thousand times larger than its neighbours.

    The next layer divides by as much, so the float model computes what it did before; but
    with one range for the whole tensor, INT8 has no steps left for the other channels.
    """
    model = files.load(trained / "model.keras")
    norm = next(x for x in model.layers if type(x).__name__ == "BatchNormalization")
    norm.gamma.assign(norm.gamma.numpy() * ([1000.0] + [1.0] * 7))
    norm.beta.assign(norm.beta.numpy() * ([1000.0] + [1.0] * 7))
    kernel = model.get_layer("conv2").kernel
    divided = kernel.numpy()
    divided[:, :, 0] /= 1000
    kernel.assign(divided)
    folder = tmp_path_factory.mktemp("lopsided")
    files.save(model, folder / "model.keras")
    DIGITS.write(folder)
    return folder


def test_layers_that_cost_too_much_are_left_in_float_and_no_others(lopsided, tmp_path):
    settings = Quantize(epochs=0, calibration="max", max_accuracy_drop=2.0)
    measured = quantize.run(QuantizeStage(quantize=settings), {"prune": lopsided}, tmp_path)
    details = measured.details
    assert details.calibrated_validation_top1 < details.float_validation_top1 - 0.1
    assert details.float_layers == ("conv2",)
    assert measured.accuracy.top1 >= details.float_validation_top1 - 0.05
    best = details.sensitivity[0]
    assert (best.layers, best.is_float) == (("conv2",), True)
    assert best.accuracy_gain > 0.1


@pytest.fixture(scope="module")
def calibrated(trained, tmp_path_factory):
    out = tmp_path_factory.mktemp("calibrated")
    settings = QuantizeStage(quantize=Quantize(epochs=0, calibration="max"))
    return out, quantize.run(settings, {"prune": trained}, out)


def test_without_epochs_the_calibrated_model_is_kept(calibrated):
    details = calibrated[1].details
    assert details.kept == "calibrated"
    assert details.trained_validation_top1 is None


def test_without_epochs_biases_are_corrected_unless_that_is_worse(calibrated, trained):
    correction = calibrated[1].details.bias_correction
    worse = correction.validation_top1_after < correction.validation_top1_before
    assert not (correction.is_kept and worse)
    folded, saved = (
        fold(files.load(trained / "model.keras")),
        files.load(calibrated[0] / "model.keras"),
    )
    for name, shift in correction.largest_shift.items():
        moved = np.abs(saved.get_layer(name).bias.numpy() - folded.get_layer(name).bias.numpy())
        # And what moving a bias to a whole step adds.
        assert moved.max() == pytest.approx(shift if correction.is_kept else 0.0, abs=1e-3)


def test_a_fine_tuned_model_learns_its_biases_itself(quantized):
    assert quantized[1].details.bias_correction is None


def test_a_fine_tune_that_ruins_the_model_is_thrown_away(trained, tmp_path):
    settings = QuantizeStage(quantize=Quantize(epochs=1, calibration="max", learning_rate=1.0))
    details = quantize.run(settings, {"prune": trained}, tmp_path).details
    assert details.trained_validation_top1 < details.calibrated_validation_top1
    assert details.kept == "calibrated"


def test_the_input_artifact_is_not_touched(trained, tmp_path):
    copy = tmp_path / "prune"
    shutil.copytree(trained, copy)
    before = (copy / "model.keras").read_bytes()
    out = tmp_path / "out"
    out.mkdir()
    quantize.run(
        QuantizeStage(quantize=Quantize(epochs=0, calibration="max")), {"prune": copy}, out
    )
    assert (copy / "model.keras").read_bytes() == before


@pytest.mark.parametrize("optimizer", ["sgd", "adadelta"])
def test_ranges_are_learned_with_other_optimizers(trained, tmp_path, optimizer):
    rate = {"sgd": 1e-3, "adadelta": 0.1}[optimizer]
    settings = Quantize(
        epochs=1, calibration="max", optimizer=optimizer, learning_rate=rate, weight_decay=0.01
    )
    details = quantize.run(QuantizeStage(quantize=settings), {"prune": trained}, tmp_path).details
    # Of 144 images seven: rounding, which differs between processors, decides on one or two.
    assert details.trained_validation_top1 > details.calibrated_validation_top1 - 0.05
    assert len(details.history) == 1
