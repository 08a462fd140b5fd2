"""A network with several inputs from its data to the engines, stage by stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from pipeline.bundle.export import Export, export
from pipeline.core.plan import PLAN
from stages.artifacts.signature import Signature
from stages.datasets import carried
from stages.settings import Benchmark, Build, Data, Model, Prune, Quantize, Settings, Train
from tests import own_program
from tests.built_artifact import adopt
from tests.stages import lines, two_inputs

pytestmark = pytest.mark.usefixtures("brief_timing")

BACKENDS = ("onnxruntime", "litert")
TOGETHER = 0.8
"""Accuracy, of which one input alone reaches a half: it tells two pairs of classes apart."""
LOST = 0.01
"""Share of the accuracy that INT8 may lose against the float engine."""


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The artifacts, and what each stage measured."""
    root = tmp_path_factory.mktemp("line")
    keras.utils.set_random_seed(0)
    two_inputs.network().save(root / "network.keras")
    data = two_inputs.write(root / "data.npz")
    training = {"batch_size": 32, "learning_rate": 1e-2, "label_smoothing": 0.0}
    settings = Settings(
        data=Data(name="npz", path=str(data), calibration_samples=64, shift_pixels=0),
        model=Model(source=str(root / "network.keras")),
        train=Train(epochs=8, **training),
        prune=Prune(ratio=0.5, channel_multiple=4, epochs=2, **training),
        quantize=Quantize(calibration="mse", epochs=1, **(training | {"learning_rate": 1e-3})),
        build=Build(backends=BACKENDS, max_seconds_per_engine=0.01),
        benchmark=Benchmark(warmup_seconds=0.01, max_seconds_per_engine=0.01, batch_sizes=(1,)),
    )
    return root, lines.run(root, settings, last="benchmark")


def test_the_signature_has_the_inputs_in_the_order_of_the_network(line) -> None:
    root, _ = line
    found = Signature.read(root / "build")
    assert [(each.name, each.dtype, each.data_dtype) for each in found.inputs] == [
        ("pixels", "uint8", "uint8"),
        ("extra", "float32", "float32"),
    ]
    pruned = Signature.read(root / "prune")
    assert pruned.inputs == two_inputs.SIGNATURE.inputs


def test_both_inputs_are_learned_and_the_network_is_pruned(line) -> None:
    _, found = line
    for stage in ("train", "prune", "quantize"):
        assert found[stage].accuracy.top1 > TOGETHER, stage
    details = found["prune"].details
    assert details.parameters_after < 0.5 * details.parameters_before
    assert {"pixels", "extra"} <= set(found["quantize"].details.ranges)


def test_every_engine_answers_as_its_simulation(line) -> None:
    _, found = line
    assert found["convert"].details.first_mismatch is None
    assert found["build"].details.first_mismatch is None
    assert [each.reason for each in found["build"].engines if each.state != "ran"] == []


def test_int8_keeps_the_accuracy(line) -> None:
    _, found = line
    reached = {str(each.name): each.accuracy.top1 for each in found["benchmark"].engines}
    for backend in BACKENDS:
        assert reached[f"{backend}.int8"] >= reached[f"{backend}.fp32"] * (1 - LOST), backend


def test_test_images_of_every_input_travel_with_the_graphs(line) -> None:
    root, _ = line
    images, labels = two_inputs.arrays(300, start=1000)
    kept = carried.read(root / "convert")
    assert len(kept) == 300
    np.testing.assert_array_equal(kept.images["pixels"], images["pixels"])
    np.testing.assert_array_equal(kept.images["extra"], images["extra"])
    np.testing.assert_array_equal(kept.labels, labels)


@pytest.mark.parametrize("engine", ["onnxruntime.int8", "litert.int8"])
def test_the_program_of_a_bundle_says_what_the_command_says(line, tmp_path, engine, capsys) -> None:
    root, found = line
    made = adopt(tmp_path / "artifacts", root / "build", found["build"])
    export(Export(tmp_path / "bundle", engine), made, PLAN)
    images, labels = two_inputs.arrays(40, start=1000)
    np.savez(tmp_path / "many.npz", y=labels, **images)
    rows = own_program.says_the_same(tmp_path / "bundle", tmp_path / "many.npz", tmp_path)
    best = np.array([int(row["class_1"]) for row in rows])
    assert np.mean(best == labels) > TOGETHER
    own_program.run(tmp_path / "bundle", "--check")
    assert "4 of 4 samples have the class expected" in capsys.readouterr().out
