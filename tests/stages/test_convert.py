from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

from stages import convert, keras_files, quantize, ranges
from stages.errors import ConversionError
from stages.keras_graph.fake_quant import simulate
from stages.keras_graph.placement import points
from stages.settings import Convert, ConvertStage, Quantize, QuantizeStage
from tests.stages.conftest import DIGITS

FILES = {
    "baseline.fp32.onnx",
    "model.fp32.onnx",
    "model.fp16.onnx",
    "model.int8.cpu.onnx",
    "model.int8.tensorrt.onnx",
    "model.int8.tensorrt8.onnx",
    "model.int8.tflite",
    "samples.npz",
    "signature.json",
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
    return out, convert.run(ConvertStage(), inputs, out)


def test_every_graph_of_the_contract_is_written(done):
    out, _ = done
    assert {file.name for file in out.iterdir()} == FILES


@pytest.mark.parametrize("file", sorted(name for name in FILES if name.endswith(".onnx")))
def test_every_onnx_file_passes_the_full_check(done, file):
    onnx.checker.check_model(onnx.load(done[0] / file), full_check=True)


def test_opsets_are_what_the_readers_of_the_graphs_parse(done):
    opsets = {
        name: onnx.load(done[0] / name).opset_import[0].version
        for name in FILES
        if name.endswith(".onnx")
    }
    newer = {"model.fp16.onnx", "model.int8.tensorrt.onnx"}
    assert {name for name, opset in opsets.items() if opset == 19} == newer
    assert {opset for name, opset in opsets.items() if name not in newer} == {17}


def test_every_graph_is_compared_with_keras_and_agrees_on_the_labels(done):
    _, measured = done
    parity = {found["graph"]: found for found in measured["details"]["parity"]}
    assert parity.keys() == FILES - {"samples.npz", "signature.json"}
    for name, found in parity.items():
        assert found["samples"] == 256
        assert found["top1_agreement"] >= (0.999 if "fp32" in name else 0.99)
    assert parity["model.fp32.onnx"]["max_relative_difference"] < 1e-5


def test_the_samples_hold_images_labels_and_keras_logits(done, inputs):
    samples = np.load(done[0] / "samples.npz")
    assert (samples["images"].dtype, samples["images"].shape[1:]) == (np.uint8, (28, 28, 1))
    folded = keras_files.load(inputs["quantize"] / "model.keras")
    simulated = simulate(folded, points(folded, DIGITS), ranges.read(inputs["quantize"]))
    expected = simulated(DIGITS.preprocess(samples["images"]))
    assert np.allclose(samples["logits"], expected, atol=1e-4)
    predicted = samples["logits"].argmax(axis=1)
    assert np.mean(predicted == samples["labels"]) > 0.9


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
