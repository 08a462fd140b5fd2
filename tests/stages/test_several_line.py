"""A network with several outputs from its data to the engines, stage by stage."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from keras import layers
from PIL import Image

import pipeline
from pipeline.bundle import contents
from pipeline.bundle.export import Export, export
from pipeline.cli import pipeline as command_line
from pipeline.core.plan import PLAN
from pipeline.results import evidence
from stages.artifacts.signature import Signature
from stages.measurement import kept_answers
from stages.settings import Benchmark, Build, Data, Model, Prune, Quantize, Settings, Train
from tests import own_program
from tests.built_artifact import adopt
from tests.stages import lines
from tests.stages.test_task_lines import SIZE, drawn

pytestmark = pytest.mark.usefixtures("brief_timing")

BACKENDS = ("onnxruntime", "litert")
"""What OpenVINO makes of several outputs is tested in tests/stages/conversion/test_heads.py."""
OUTPUTS = ("there", "mask", "area")
"""Neither in alphabetical order nor in that of the labels."""
LOST = 0.01
"""Share of its metric that INT8 may lose of each output against the float engine."""


def network() -> keras.Model:
    """Whether a red disc is there, how large it is, and where it and the blue square are."""
    image = keras.Input((SIZE, SIZE, 3), name="image")
    x = down = layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    x = deep = layers.Conv2D(16, 3, padding="same", activation="relu")(layers.MaxPooling2D()(x))
    up = layers.Concatenate()([layers.Conv2DTranspose(8, 2, strides=2)(deep), down])
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(up)
    mask = layers.Conv2D(3, 1, activation="softmax", name="mask")(x)
    there = layers.Dense(1, activation="sigmoid", name="there")(layers.GlobalMaxPooling2D()(deep))
    hidden = layers.Dense(16, activation="relu")(layers.GlobalAveragePooling2D()(deep))
    return keras.Model(image, [there, mask, layers.Dense(1, name="area")(hidden)])


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The artifacts, and what each stage measured."""
    root = tmp_path_factory.mktemp("line")
    arrays = {}
    for part, (count, seed) in {"train": (400, 1), "test": (160, 2)}.items():
        arrays[f"x_{part}"], targets = drawn(count, seed=seed)
        arrays[f"y_{part}/there"] = targets["binary"]
        arrays[f"y_{part}/mask"] = targets["segmentation"]
        arrays[f"y_{part}/area"] = (targets["regression"] - 20) / 5
    np.savez(root / "data.npz", **arrays)
    keras.utils.set_random_seed(0)
    network().save(root / "network.keras")
    training = {"batch_size": 32, "label_smoothing": 0.0}
    settings = Settings(
        data=Data(name="npz", path=str(root / "data.npz"), calibration_samples=64, shift_pixels=0),
        model=Model(source=str(root / "network.keras")),
        train=Train(epochs=10, learning_rate=1e-2, **training),
        prune=Prune(ratio=0.25, channel_multiple=4, epochs=2, learning_rate=1e-2, **training),
        quantize=Quantize(epochs=1, learning_rate=1e-3, **training),
        build=Build(backends=BACKENDS, max_seconds_per_engine=0.01),
        benchmark=Benchmark(warmup_seconds=0.01, max_seconds_per_engine=0.01, batch_sizes=(1,)),
    )
    return root, lines.run(root, settings, last="benchmark")


def test_the_signature_lists_the_outputs_in_the_order_of_the_network(line) -> None:
    root, _ = line
    signature = Signature.read(root / "build")
    assert signature.output_names == OUTPUTS
    assert [each.task for each in signature.each] == ["binary", "segmentation", "regression"]
    assert [each.output for each in signature.each] == ["probabilities", "probabilities", "values"]
    assert [each.shape_of_output for each in signature.each] == [(1,), (SIZE, SIZE, 3), (1,)]


def test_the_trained_model_keeps_thresholds_of_its_own(line) -> None:
    root, _ = line
    built, trained = (Signature.read(root / stage) for stage in ("build", "train"))
    assert built.each[0].trained_thresholds == trained.each[0].thresholds != ()
    assert built.of_trained.each[0].thresholds == trained.each[0].thresholds


def test_every_output_is_learned(line) -> None:
    _, found = line
    for stage in ("train", "prune", "quantize"):
        reached = {name: each.score for name, each in found[stage].accuracy.outputs.items()}
        assert set(reached) == set(OUTPUTS)
        assert min(reached.values()) > 0.8, (stage, reached)
    assert found["prune"].details.parameters_after < found["prune"].details.parameters_before


def test_every_engine_answers_as_its_simulation(line) -> None:
    _, found = line
    assert found["convert"].details.first_mismatch is None
    assert found["build"].details.first_mismatch is None
    assert [each.reason for each in found["build"].engines if each.state != "ran"] == []


def test_int8_keeps_the_metric_of_every_output(line) -> None:
    _, found = line
    engines = {str(each.name): each.accuracy.outputs for each in found["benchmark"].engines}
    for backend in BACKENDS:
        for name in OUTPUTS:
            full, rounded = (engines[f"{backend}.{kind}"][name].score for kind in ("fp32", "int8"))
            assert rounded >= full * (1 - LOST), (backend, name)


def test_the_answers_of_every_output_are_kept_for_the_report(line) -> None:
    root, found = line
    told = found["benchmark"].details.outputs
    assert tuple(told) == OUTPUTS
    kept = kept_answers.read(evidence.load(root / "benchmark" / kept_answers.FILE))
    assert {name: each.task for name, each in kept.items()} == {
        "there": "binary", "mask": "segmentation", "area": "regression"
    }  # fmt: skip
    data = evidence.load(root / "data.npz")
    for name, each in kept.items():
        targets = data[f"y_test/{name}"][each.indices]
        np.testing.assert_array_equal(each.targets, targets.reshape(each.targets.shape))
    assert [len(kept[name]) for name in OUTPUTS] == [160, kept_answers.MOST_MASKS, 160]
    np.testing.assert_array_equal(kept["mask"].images, data["x_test"][kept["mask"].indices])
    best = found["benchmark"].details.fastest
    counted = {name: np.sum(told[name].classification[best].confusion) for name in OUTPUTS[:2]}
    assert counted == {"there": 160, "mask": 160 * SIZE**2}
    assert told["area"].classification == {}


def test_a_bundle_answers_by_output(line, tmp_path) -> None:
    root, found = line
    made = adopt(tmp_path / "artifacts", root / "build", found["build"])
    bundle = tmp_path / "bundle"
    export(Export(bundle, "onnxruntime.int8"), made, PLAN)
    info = contents.read(bundle)
    assert info.bundle_version == 4
    assert [(each.name, each.task) for each in info.outputs] == [
        ("there", "binary"),
        ("mask", "segmentation"),
        ("area", "regression"),
    ]
    images, _ = drawn(5, seed=3)
    with pipeline.load(bundle) as engine:
        said = engine.predict(images).by_output
    expected = np.load(bundle / "expected.npy")
    assert expected.dtype.names == OUTPUTS
    assert said["mask"].masks.shape == (5, SIZE, SIZE)
    np.save(tmp_path / "images.npy", images)
    to = tmp_path / "answers"
    words = ["predict", str(bundle), str(tmp_path / "images.npy"), "--format", "json", "--to"]
    done = CliRunner().invoke(command_line, [*words, str(to)])
    assert done.exit_code == 0, done.output
    for index, answer in enumerate(json.loads(done.stdout)):
        assert answer["there"]["class"] == said["there"].labels[index]
        assert answer["area"]["values"] == pytest.approx(said["area"].named[index])
        with Image.open(to / answer["mask"]["mask_file"]) as mask:
            np.testing.assert_array_equal(np.asarray(mask), said["mask"].masks[index])
    header = (to / "answers.csv").read_text().splitlines()[0].split(",")
    assert header[0] == "image"
    assert {"there.class", "area.0", "mask.mask_file"} < set(header)


@pytest.mark.parametrize("engine", ["onnxruntime.int8", "litert.int8"])
def test_the_program_of_a_bundle_says_what_the_command_says(line, tmp_path, engine, capsys) -> None:
    root, found = line
    made = adopt(tmp_path / "artifacts", root / "build", found["build"])
    export(Export(tmp_path / "bundle", engine), made, PLAN)
    images, _ = drawn(3, seed=3)
    np.save(tmp_path / "images.npy", images)
    rows = own_program.says_the_same(tmp_path / "bundle", tmp_path / "images.npy", tmp_path)
    assert {"there.class", "area.0", "mask.0"} < set(rows[0])
    line = capsys.readouterr().out.splitlines()[0]
    assert re.match(r"\S+images\.npy\[0\]: there: .*; mask: .*; area: 0: ", line)
    own_program.run(tmp_path / "bundle", "--check")
    words = capsys.readouterr().out.splitlines()
    assert [each.split(":")[0] for each in words] == list(OUTPUTS)


@pytest.mark.parametrize("engine", ["onnxruntime.fp32", "litert.int8"])
def test_triton_is_told_of_every_output(line, tmp_path, engine) -> None:
    root, found = line
    made = adopt(tmp_path / "artifacts", root / "build", found["build"])
    export(Export(tmp_path / "served", engine, format="triton"), made, PLAN)
    (config,) = (tmp_path / "served").rglob("config.pbtxt")
    names = re.findall(r'output \{\n  name: "(\w+)"', config.read_text())
    assert tuple(names) == OUTPUTS
