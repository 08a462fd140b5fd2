from __future__ import annotations

import json

import keras
import numpy as np
import pytest

from benchmarks import coverage, networks
from stages.settings.networks import APPLICATIONS

DONE = {
    "architecture": "MobileNet",
    "reason": None,
    "parameters": 3239114,
    "rounding_noise": 6e-6,
    "prune_difference": 5e-7,
    "nodes": 58,
    "difference": 7e-6,
    "rtx_fp16": True,
    "kernels": 28,
    "int8_kernels": 28,
    "ort_int8": True,
    "rtx_int8": True,
    "rtx_int8_kernels": 28,
    "seconds": 13.8,
}
FAILED = {"architecture": "VGG16", "reason": "ConversionError: no", "seconds": 2.0}


def test_every_architecture_of_keras_is_examined_and_every_network_that_is_made_here():
    assert sorted(coverage.ARCHITECTURES) == sorted(APPLICATIONS)
    assert sorted(coverage.NETWORKS) == sorted(networks.NETWORKS)
    assert len(set(coverage.NAMES)) == len(APPLICATIONS) + len(networks.NETWORKS)


def test_a_network_of_signals_takes_floats_as_they_are():
    model = networks.resnet_1d()
    samples = np.zeros((2, *model.input_shape[1:]), np.float32)
    found = coverage.signature_of(model, samples)
    assert (found.layout, found.data_dtype, found.scale) == ("NLC", "float32", 1.0)
    assert coverage.signature_of(model, np.zeros((2, 32, 32, 3), np.uint8)).scale == 1 / 255


def test_the_output_that_is_furthest_off_counts():
    model = networks.detector()
    signature = coverage.signature_of(model, np.zeros((2, 64, 64, 3), np.uint8))
    assert signature.output_names == ("boxes", "classes")
    large, small = np.full((2, 3), 100.0, np.float32), np.ones((2, 2), np.float32)
    expected, got = signature.joined([large, small]), signature.joined([large, 1.25 * small])
    assert coverage.relative(expected, got) == pytest.approx(0.25)
    assert coverage.relative(large, large + 1) == pytest.approx(0.01)


@pytest.mark.parametrize(
    "change", [{"difference": 2e-4}, {"ort_int8": False}, {"rtx_int8": False}, {"rtx_fp16": None}]
)
def test_it_passes_only_if_everything_worked(change):
    assert coverage.passes(DONE)
    assert not coverage.passes({**DONE, **change})
    assert not coverage.passes(FAILED)


def test_the_table_has_a_row_for_each_and_the_reason_of_a_failure():
    lines = coverage.table([DONE, FAILED]).splitlines()
    assert "| MobileNet | 3.2 M | 7e-06 |" in lines[2]
    assert "28 of 28" in lines[2]
    assert lines[2].endswith("passes |")
    assert lines[3].endswith("ConversionError: no |")
    assert lines[-1] == "1 of 2 pass."


def test_one_that_takes_too_long_is_stopped():
    found = coverage.run("MobileNet", limit=0.05)
    assert found["reason"] == "stopped after 0 s"
    assert not coverage.passes(found)


def test_what_is_known_is_not_run_again(tmp_path, monkeypatch, capsys):
    results = tmp_path / "results.jsonl"
    results.write_text(json.dumps(DONE) + "\n")
    command = ["coverage.py", "--results", str(results), "--only", "MobileNet", "VGG16"]
    monkeypatch.setattr("sys.argv", [*command, "--limit", "0.05"])
    coverage.main()
    assert "1 of 2 pass." in capsys.readouterr().out
    names = [json.loads(line)["architecture"] for line in results.read_text().splitlines()]
    assert names == ["MobileNet", "VGG16"]


def test_random_statistics_keep_the_network_calm():
    keras.utils.set_random_seed(0)
    image = keras.Input((32, 32, 3))
    x = image
    for _ in range(8):
        x = keras.layers.Conv2D(8, 3, padding="same")(x)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(x))
    pixels = keras.random.uniform((16, 32, 32, 3), seed=1).numpy()
    coverage.randomize(model, pixels)
    outputs = model(pixels).numpy()
    assert 0.1 < outputs.mean() < 3.0
    assert all(layer.momentum == 0.99 for layer in model.layers if hasattr(layer, "momentum"))
