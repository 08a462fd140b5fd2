"""Every task from its data to the engines, stage by stage, on images made by arithmetic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from stages import prune, quantize
from stages.artifacts.signature import Signature
from stages.results.pruning import PruneResult
from stages.results.quantization import QuantizeResult
from stages.settings import (
    Build,
    Data,
    Model,
    Prune,
    PruneStage,
    Quantize,
    QuantizeStage,
    Settings,
    Train,
)
from stages.tasks.registry import MAIN, TaskName
from tests.stages import lines

pytestmark = pytest.mark.usefixtures("brief_timing")

SIZE = 16
EPOCHS: dict[TaskName, int] = {"binary": 5, "multilabel": 5, "regression": 16, "segmentation": 8}
"""Classes have tests/test_line.py."""
CALIBRATED: dict[str, Any] = {"calibration": "percentile", "epochs": 0}
QUANTIZE: dict[TaskName, dict[str, Any]] = {
    "binary": CALIBRATED,
    "multilabel": {"epochs": 1},
    "regression": CALIBRATED,
    "segmentation": CALIBRATED,
}
"""Choosing a calibration and the training after it are those of tests/stages/test_several_line.py,
but for several labels."""
BACKENDS = ("onnxruntime", "litert")
LOST = 0.01
"""Share of its metric that INT8 may lose against the float engine of the same network."""


def drawn(count: int, seed: int) -> tuple[np.ndarray, dict[TaskName, np.ndarray]]:
    """Dim noise, on it a bright red disc or none, and a bright blue square or none."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 50, (count, SIZE, SIZE, 3))
    masks = np.zeros((count, SIZE, SIZE), np.uint8)
    there = random.random((count, 2)) < 0.6
    centres, sizes = random.integers(4, SIZE - 4, (count, 2, 2)), random.integers(2, 5, (count, 2))
    y, x = np.mgrid[:SIZE, :SIZE]
    for at in range(count):
        (dx, dy), (sx, sy) = ([x - cx, y - cy] for cx, cy in centres[at])
        shapes = [dx**2 + dy**2 <= sizes[at, 0] ** 2, np.maximum(abs(sx), abs(sy)) < sizes[at, 1]]
        for kind, (shape, channel) in enumerate(zip(shapes, (0, 2), strict=True)):
            if there[at, kind]:
                masks[at][shape] = kind + 1
                images[at][shape] = random.integers(0, 50, 3)
                images[at][shape, channel] = 200
    red = (masks == 1).sum(axis=(1, 2))
    targets: dict[TaskName, np.ndarray] = {
        "binary": there[:, 0].astype(np.int64),
        "multilabel": there.astype(np.uint8),
        "regression": (18.0 + 0.5 * red).astype(np.float32),
        "segmentation": masks,
    }
    return images.astype(np.uint8), targets


def network(task: TaskName) -> keras.Model:
    """Two convolutions, for pixels with a way back up."""
    image = keras.Input((SIZE, SIZE, 3), name="image")
    x = down = layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    x = layers.Conv2D(16, 3, padding="same", activation="relu")(layers.MaxPooling2D()(x))
    if task == "segmentation":
        x = layers.Conv2DTranspose(8, 2, strides=2)(x)
        x = layers.Concatenate()([x, down])
        x = layers.Conv2D(8, 3, padding="same", activation="relu")(x)
        return keras.Model(image, layers.Conv2D(3, 1, activation="softmax")(x))
    if task == "regression":
        x = layers.Dense(16, activation="relu")(layers.GlobalAveragePooling2D()(x))
        head = layers.Dense(1, bias_initializer=keras.initializers.Constant(20.0))
        return keras.Model(image, head(x))
    x = layers.GlobalMaxPooling2D()(x)
    if task == "binary":
        return keras.Model(image, layers.Dense(1, activation="sigmoid")(x))
    return keras.Model(image, layers.Dense(2)(x))


@pytest.fixture(scope="module", params=EPOCHS)
def line(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[TaskName, Path, dict[str, Any]]:
    """A task, its artifacts, and what each stage measured."""
    task, root = request.param, tmp_path_factory.mktemp("line")
    (images, targets), (others, wanted) = drawn(400, seed=1), drawn(160, seed=2)
    file = root / "data.npz"
    np.savez(file, x_train=images, y_train=targets[task], x_test=others, y_test=wanted[task])
    keras.utils.set_random_seed(0)
    network(task).save(root / "network.keras")
    training = {"batch_size": 32, "learning_rate": 1e-2, "label_smoothing": 0.0}
    settings = Settings(
        data=Data(name="npz", path=str(file), calibration_samples=64, shift_pixels=0),
        model=Model(source=str(root / "network.keras")),
        train=Train(epochs=EPOCHS[task], **training),
        prune=Prune(ratio=0.25, channel_multiple=4, epochs=2, **training),
        quantize=Quantize(**QUANTIZE[task], **(training | {"learning_rate": 1e-3})),
        build=Build(backends=BACKENDS, max_seconds_per_engine=0.01),
    )
    return task, root, lines.run(root, settings, last="build")


def test_every_engine_answers_as_its_simulation(line) -> None:
    _, _, found = line
    assert found["convert"].details.first_mismatch is None
    assert found["build"].details.first_mismatch is None
    assert [each.reason for each in found["build"].engines if each.state != "ran"] == []


def test_int8_keeps_the_metric_of_the_task(line) -> None:
    task, _, found = line
    result = found["build"]
    scores = {str(each.name): each.accuracy.score for each in result.engines}
    assert set(scores) == {
        f"{backend}.{precision}" for backend in BACKENDS for precision in ("fp32", "int8")
    }
    assert found["train"].accuracy.score > 0.85, task
    for backend in BACKENDS:
        assert scores[f"{backend}.int8"] >= (1 - LOST) * scores[f"{backend}.fp32"], task
    assert {each.accuracy.metric for each in result.engines} == {MAIN[task]}


def test_the_signature_that_travels_says_what_is_asked(line) -> None:
    task, root, _ = line
    signature = Signature.read(root / "build")
    assert signature.task == task
    assert (
        signature.output
        == {
            "binary": "probabilities",
            "multilabel": "logits",
            "regression": "values",
            "segmentation": "probabilities",
        }[task]
    )
    assert (
        signature.shape_of_output
        == {
            "binary": (1,),
            "multilabel": (2,),
            "regression": (1,),
            "segmentation": (SIZE, SIZE, 3),
        }[task]
    )
    assert len(signature.thresholds) == {"binary": 1, "multilabel": 2}.get(task, 0)


def test_what_changed_between_the_trained_model_and_the_engines_is_counted(line) -> None:
    _, _, found = line
    differences = found["build"].details.choice.differences
    assert len(differences) == 2 * len(BACKENDS)
    for each in differences:
        assert each.change_low is not None
        assert each.change_high is not None
        assert each.change_low <= each.change_high


def test_a_network_worse_than_always_answering_the_mean_has_a_negative_score(tmp_path) -> None:
    """It ended the stage: R2 was kept as a share, from 0 to 1."""
    (images, targets), (others, wanted) = drawn(200, seed=1), drawn(40, seed=2)
    file = tmp_path / "data.npz"
    values = {"y_train": targets["regression"], "y_test": wanted["regression"]}
    np.savez(file, x_train=images, x_test=others, **values)
    keras.utils.set_random_seed(0)
    model = network("regression")
    features = keras.Model(model.input, model.layers[-2].output)(images / 255).numpy()
    fitted = np.linalg.lstsq(np.c_[features, np.ones(200)], targets["regression"], rcond=None)[0]
    model.layers[-1].set_weights([fitted[:-1, None], fitted[-1:]])
    folders = {name: tmp_path / name for name in ("train", "prune", "quantize")}
    for folder in folders.values():
        folder.mkdir()
    model.save(folders["train"] / "model.keras")
    Signature(
        (SIZE, SIZE, 3), ("0",), 1 / 255, 0.0, task="regression", output="values", output_shape=(1,)
    ).write(folders["train"])
    data = Data(name="npz", path=str(file), calibration_samples=32)
    without = Prune(ratio=0.85, layers="all", channel_multiple=1, epochs=0)
    found = {
        "prune": prune.run(PruneStage(data=data, prune=without), folders, folders["prune"]),
        "quantize": quantize.run(
            QuantizeStage(data=data, quantize=Quantize(**CALIBRATED)), folders, folders["quantize"]
        ),
    }
    (pruned,), quantized = found["prune"].details.rounds, found["quantize"].details
    assert quantized.float_validation_top1 == pruned.validation_top1 < 0
    assert quantized.calibration.validation_top1["percentile"] < 0
    assert quantized.bias_correction.validation_top1_before < 0
    assert quantized.bias_correction.validation_top1_after < 0
    for stage, kept in (("prune", PruneResult), ("quantize", QuantizeResult)):
        assert kept.model_validate_json(found[stage].model_dump_json()) == found[stage]
