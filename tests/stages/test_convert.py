from __future__ import annotations

import dataclasses
import json

import numpy as np
import onnx
import pytest

from stages import benchmark, build, convert, quantize
from stages.artifacts import ranges
from stages.artifacts.signature import Signature
from stages.datasets import carried
from stages.engines import modules, records
from stages.engines.onnxruntime import interpret
from stages.errors import ConversionError, EngineError, SettingsError
from stages.keras_graph.fake_quant import simulate
from stages.keras_graph.placement import points
from stages.measurement.parity import KERAS_FLOAT, explained, fake_quantized
from stages.models import files
from stages.settings import (
    Benchmark,
    BenchmarkStage,
    Build,
    BuildStage,
    Convert,
    ConvertStage,
    Quantize,
    QuantizeStage,
)
from tests.stages.conftest import DIGITS
from tests.stages.two_inputs import SIGNATURE

pytestmark = pytest.mark.usefixtures("brief_timing")

FILES = {
    "baseline.fp32.onnx",
    "model.fp32.onnx",
    "model.fp16.onnx",
    "model.bf16.onnx",
    "model.int8.cpu.onnx",
    "model.int8.tensorrt.onnx",
    "model.int8.tensorrt8.onnx",
    "model.int8.tflite",
    "model.fp8.onnx",
    "model.fp32.tflite",
    "samples.npz",
    "signature.json",
    "test_images.npy",
    "test_labels.npy",
}


@pytest.fixture(scope="module")
def inputs(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("quantize")
    settings = QuantizeStage(quantize=Quantize(epochs=0))
    quantize.run(settings, {"prune": trained}, folder)
    return {"train": trained, "prune": trained, "quantize": folder}


@pytest.fixture(scope="module")
def done(inputs, tmp_path_factory):
    out = tmp_path_factory.mktemp("convert")
    every = Convert(extra_precisions=("bf16", "fp8"))
    return out, convert.run(ConvertStage(convert=every), inputs, out)


def test_every_graph_of_the_contract_is_written(done):
    out, _ = done
    assert {file.name for file in out.iterdir()} == FILES


@pytest.mark.parametrize("file", sorted(name for name in FILES if name.endswith(".onnx")))
def test_every_onnx_file_passes_the_full_check(done, file):
    onnx.checker.check_model(onnx.load(done[0] / file), full_check=True)


def test_a_model_that_was_not_pruned_gives_the_same_graph(done):
    """By this the verdict knows whether there was pruning where only the graphs are."""
    baseline, pruned = (done[0] / name for name in ("baseline.fp32.onnx", "model.fp32.onnx"))
    assert baseline.read_bytes() == pruned.read_bytes()


def test_opsets_are_what_the_readers_of_the_graphs_parse(done):
    opsets = {
        name: onnx.load(done[0] / name).opset_import[0].version
        for name in FILES
        if name.endswith(".onnx")
    }
    newer = {"model.fp16.onnx", "model.int8.tensorrt.onnx", "model.fp8.onnx"}
    assert {name for name, opset in opsets.items() if opset == 19} == newer
    assert opsets.pop("model.bf16.onnx") == 22
    assert {opset for name, opset in opsets.items() if name not in newer} == {17}


def test_every_graph_is_checked_against_keras_and_passes(done):
    _, measured = done
    details = measured.details
    checks = {found.name: found for found in details.parity_checks}
    graphs = {file for file in FILES if file.endswith((".onnx", ".tflite"))}
    simulations = {fake_quantized(target) for target in ("cpu", "tensorrt", "litert", "fp8")}
    assert checks.keys() == graphs | simulations
    assert {checks[name].against for name in simulations} == {KERAS_FLOAT}
    assert checks["model.int8.tflite"].against == fake_quantized("litert")
    assert all(found.passed and found.samples == 256 for found in checks.values())
    assert details.first_mismatch is None
    for file in ("model.fp32.onnx", "model.fp32.tflite"):
        assert checks[file].max_relative_difference < 1e-5


def test_every_layer_of_the_integer_graph_is_right_given_what_came_before(done):
    found = done[1].details.layer_parity
    assert [each.name for each in found] == [
        "model.int8.cpu.onnx",
        "model.int8.cpu.onnx in ONNX Runtime",
        "model.int8.cpu.onnx in OpenVINO",
        "model.int8.tensorrt8.onnx",
        "model.int8.tensorrt.onnx",
        "model.int8.tflite",
        "model.fp8.onnx",
    ]
    for each in found:
        assert each.passes
        assert each.elements > 10000
        assert (each.unexplained, each.worst_point) == (0, None)
        # Next to zero E4M3 has many numbers within the error of float16.
        assert each.off_by_more == 0 or each.name == "model.fp8.onnx"


def test_the_samples_hold_images_labels_and_the_logits_of_every_keras_rung(done, inputs):
    samples = np.load(done[0] / "samples.npz")
    assert (samples["images"].dtype, samples["images"].shape[1:]) == (np.uint8, (28, 28, 1))
    images = DIGITS.preprocess(samples["images"])
    float_model = files.load(inputs["prune"] / "model.keras")
    assert np.allclose(samples[KERAS_FLOAT], float_model(images), atol=1e-4)
    folded = files.load(inputs["quantize"] / "model.keras")
    placed = points(folded, DIGITS)
    simulated = simulate(folded, placed, ranges.read(inputs["quantize"], placed))
    expected = simulated(images)
    assert np.allclose(samples[fake_quantized("cpu")], expected, atol=1e-4)
    for target in ("cpu", "tensorrt", "litert"):
        logits = samples[fake_quantized(target)]
        difference = samples[explained(fake_quantized(target))]
        assert difference.shape == (10,)
        assert 0 < difference.min() <= difference.max() < 0.2 * np.abs(logits).max()
    assert np.mean(samples[KERAS_FLOAT].argmax(axis=1) == samples["labels"]) > 0.9


def test_the_samples_have_the_classes_of_the_test_images_in_proportion(done, digits):
    samples = np.load(done[0] / "samples.npz")
    shares = np.bincount(digits.test.labels) * len(samples["labels"]) / len(digits.test)
    assert np.abs(np.bincount(samples["labels"], minlength=10) - shares).max() < 1


def test_the_samples_to_choose_an_engine_by_are_the_validation_images(done, digits):
    samples = np.load(done[0] / "samples.npz")
    np.testing.assert_array_equal(samples["validation_images"], digits.validation.images)
    np.testing.assert_array_equal(samples["validation_labels"], digits.validation.labels)


def test_the_test_images_travel_with_the_graphs_and_the_record_says_how_many(done, digits):
    out, found = done
    test = carried.read(out)
    assert np.array_equal(test.images, digits.test.images)
    assert np.array_equal(test.labels, digits.test.labels)
    said = found.details.carried
    assert said.images == said.test_samples == len(digits.test)


def test_a_float_graph_that_differs_from_keras_by_too_much_is_refused(inputs, tmp_path):
    settings = ConvertStage(convert=Convert(max_relative_difference=1e-12))
    with pytest.raises(ConversionError, match=r"baseline\.fp32\.onnx differs from Keras") as caught:
        convert.run(settings, inputs, tmp_path)
    assert "convert.max_relative_difference" in caught.value.hint


def test_a_range_that_is_missing_is_named(inputs, tmp_path):
    broken = tmp_path / "quantize"
    broken.mkdir()
    for name in ("model.keras", "signature.json"):
        (broken / name).write_bytes((inputs["quantize"] / name).read_bytes())
    found = json.loads((inputs["quantize"] / "ranges.json").read_text())
    del found["image"]
    (broken / "ranges.json").write_text(json.dumps(found))
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(ConversionError, match="no range for 'image'"):
        convert.run(ConvertStage(), {**inputs, "quantize": broken}, out)


@pytest.fixture(scope="module")
def six_at_once(inputs, tmp_path_factory):
    """Graphs of the batch size 6, and what was measured of them."""
    out = tmp_path_factory.mktemp("six")
    settings = ConvertStage(convert=Convert(parity_samples=64, batch_size=6))
    return out, convert.run(settings, inputs, out)


@pytest.fixture(scope="module")
def from_float(inputs, tmp_path_factory):
    """Graphs that take preprocessed images, and what was measured of them."""
    out = tmp_path_factory.mktemp("float")
    settings = ConvertStage(convert=Convert(parity_samples=64, input="float32"))
    return out, convert.run(settings, inputs, out)


@pytest.mark.parametrize("kind", ["six_at_once", "from_float"])
def test_the_other_kinds_of_input_give_the_same_logits(kind, done, request):
    out, found = request.getfixturevalue(kind)
    assert found.details.first_mismatch is None
    assert all(each.passes for each in found.details.layer_parity)
    images = np.load(out / "samples.npz")["images"]
    for file in ("model.fp32.onnx", "model.int8.cpu.onnx"):
        usual = interpret(done[0] / file, Signature.read(done[0]), images)
        other = interpret(out / file, Signature.read(out), images)
        assert other.shape == (64, 10)
        np.testing.assert_allclose(other, usual, atol=1e-4)


def test_engines_of_one_batch_size_are_built_measured_and_refuse_others(six_at_once, tmp_path):
    converted, built, measured = six_at_once[0], tmp_path / "build", tmp_path / "benchmark"
    for folder in (built, measured):
        folder.mkdir()
    backends = ("onnxruntime", "openvino", "litert", "tensorrt_rtx")
    brief = Build(backends=backends, max_seconds_per_engine=0.02)
    build.run(BuildStage(build=brief), {"convert": converted}, built)
    short = Benchmark(max_seconds_per_engine=0.02, warmup_seconds=0.01)
    stage = BenchmarkStage(benchmark=short)
    table = benchmark.run(stage, {"build": built}, measured).engines
    on_cpu = [engine for engine in table if engine.backend != "tensorrt_rtx"]
    assert all(engine.state == "ran" for engine in on_cpu)
    assert {row.batch_size for engine in on_cpu for row in engine.latency} == {6}
    assert all(engine.accuracy.samples == 360 for engine in on_cpu)
    assert all(e.state != "unavailable" for e in table if rtx_is_here() or e in on_cpu)
    record = next(each for each in records.read(built) if str(each.name) == "openvino.int8")
    with (
        records.runner(record, built, Signature.read(built), 1) as engine,
        pytest.raises(EngineError, match="a batch of 7, it takes 6 and no other"),
    ):
        engine.infer(np.zeros((7, 28, 28, 1), np.uint8))


def rtx_is_here() -> bool:
    return modules.load("tensorrt_rtx").build_blocker() is None


def test_what_fits_float16_is_wholly_in_float16(done):
    assert done[1].details.float32_layers == {}


def test_pixels_are_the_input_of_engines_only_where_the_data_are_pixels() -> None:
    pixels = Signature((4, 4, 1), ("a", "b"), 1.0, 0.0)
    floats = dataclasses.replace(pixels, data_dtype="float32")
    assert convert.input_type(pixels, Convert()) == "uint8"
    assert convert.input_type(pixels, Convert(input="float32")) == "float32"
    assert convert.input_type(floats, Convert()) == "float32"
    with pytest.raises(SettingsError, match=r"convert\.input is 'uint8', but the data are float32"):
        convert.input_type(floats, Convert(input="uint8"))


def test_of_several_inputs_pixels_are_the_input_of_those_that_are_pixels() -> None:
    _, extra = SIGNATURE.inputs
    assert convert.input_type(SIGNATURE, Convert(input="uint8")) == "uint8"
    assert convert.input_type(SIGNATURE, Convert()) == "uint8"
    numbers = dataclasses.replace(SIGNATURE, inputs=(extra, dataclasses.replace(extra, name="b")))
    assert convert.input_type(numbers, Convert()) == "float32"
    with pytest.raises(SettingsError, match=r"convert\.input is 'uint8', but the data are float32"):
        convert.input_type(numbers, Convert(input="uint8"))
