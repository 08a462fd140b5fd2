"""A detector's raw heads through the line, judged by a metric of the user's."""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from stages import prune, train
from stages.artifacts.signature import Signature
from stages.errors import DataError, ModelError, SettingsError
from stages.settings import (
    Benchmark,
    Build,
    Data,
    Model,
    Prune,
    PruneStage,
    Quality,
    Quantize,
    Settings,
    Train,
    TrainStage,
)
from tests.stages import lines

SIZE, CELLS, MOST = 16, 4, 3
BACKENDS = ("onnxruntime", "litert")
METRIC = """
    import numpy as np

    def found(targets, outputs):
        '''Share of the objects in whose cell the sign is above zero and the place near, for each
        image.'''
        objects = targets["objects"]
        shares = []
        for image, sign, place in zip(objects, outputs["sign"], outputs["place"]):
            real = image[image[:, 0] >= 0]
            cells = (real // 4).astype(int)
            at = sign[cells[:, 1], cells[:, 0], 0] > 0
            near = np.abs(place[cells[:, 1], cells[:, 0]] - (real / 4 - cells)).max(axis=1) < 0.3
            shares.append(np.mean(at & near))
        return np.array(shares)

    def missed(targets, outputs):
        return 1 - found(targets, outputs).mean()

    def fails(targets, outputs):
        raise KeyError("boxes")

    def unknown(targets, outputs):
        return float("nan")

    def too_many(targets, outputs):
        return outputs["sign"]
"""


def drawn(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Bright dots, one to three in cells of their own: images, their places (N, 3, 2) padded with
    -1, and what the heads should say."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 40, (count, SIZE, SIZE, 1))
    objects = np.full((count, MOST, 2), -1.0, np.float32)
    sign = np.zeros((count, CELLS, CELLS, 1), np.float32)
    place = np.full((count, CELLS, CELLS, 2), 0.5, np.float32)
    for image in range(count):
        cells = random.permutation(CELLS**2)[: random.integers(1, MOST + 1)]
        for number, (row, column) in enumerate(zip(*np.divmod(cells, CELLS), strict=True)):
            y, x = row * 4 + random.integers(0, 4), column * 4 + random.integers(0, 4)
            images[image, y, x] = 250
            objects[image, number] = x + 0.5, y + 0.5
            sign[image, row, column] = 1
            place[image, row, column] = (x + 0.5) / 4 - column, (y + 0.5) / 4 - row
    return images.astype(np.uint8), objects, {"place": place, "sign": sign}


def detector() -> keras.Model:
    """Trained by its user, with losses that are none of ours."""
    image = keras.Input((SIZE, SIZE, 1), name="image")
    x = layers.Conv2D(16, 3, padding="same", activation="relu")(image)
    x = layers.Conv2D(32, 4, strides=4, activation="relu")(x)
    heads = {"sign": layers.Conv2D(1, 1)(x), "place": layers.Conv2D(2, 1)(x)}
    model = keras.Model(image, heads)
    hits = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-2), {"sign": hits, "place": "mse"})
    images, _, targets = drawn(600, seed=1)
    model.fit(images / 255.0, targets, 64, epochs=12, verbose=0)
    return model


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder with data, the trained model, and the module of the metric."""
    folder = tmp_path_factory.mktemp("detector")
    arrays = {}
    for part, (count, seed) in {"train": (300, 2), "test": (120, 3)}.items():
        arrays[f"x_{part}"], arrays[f"y_{part}/objects"], _ = drawn(count, seed)
    np.savez(folder / "data.npz", **arrays)
    (folder / "metrics_of_dots.py").write_text(textwrap.dedent(METRIC))
    keras.utils.set_random_seed(0)
    detector().save(folder / "detector.keras")
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


def sections(root: Path, **quality: Any) -> dict[str, Any]:
    """What all stages see."""
    quality = {"metric": "metrics_of_dots:found", **quality}
    return {
        "data": Data(
            name="npz", path=str(root / "data.npz"), calibration_samples=64, shift_pixels=0
        ),
        "model": Model(source=str(root / "detector.keras")),
        "quality": Quality(**quality),
    }


@pytest.fixture(scope="module")
def line(root: Path) -> dict[str, Any]:
    """What each stage measured."""
    tuned = {"batch_size": 32, "learning_rate": 5e-3, "distillation": 0.5}
    settings = Settings(
        **sections(root),
        train=Train(epochs=0),
        prune=Prune(ratio=0.5, channel_multiple=4, epochs=12, **tuned),
        quantize=Quantize(epochs=1, **tuned),
        build=Build(backends=BACKENDS, max_seconds_per_engine=0.01),
        benchmark=Benchmark(warmup_seconds=0.01, max_seconds_per_engine=0.01, batch_sizes=(1,)),
    )
    return lines.run(root, settings, last="benchmark")


def test_outputs_are_named_as_the_dictionary_of_the_model_does(line, root) -> None:
    signature = Signature.read(root / "quantize")
    assert signature.output_names == ("sign", "place")
    assert {each.task for each in signature.each} == {"raw"}
    assert signature.metric == "metrics_of_dots:found"


def test_the_metric_of_the_user_is_what_every_stage_reports(line, root) -> None:
    for stage in ("train", "prune", "quantize"):
        found = line[stage].accuracy
        assert found.metric == "own metrics_of_dots:found"
        assert found.words == "metrics_of_dots:found"
        assert found.score > 0.9, stage
    model = keras.saving.load_model(root / "train" / "model.keras", compile=False)
    images, objects, _ = drawn(120, seed=3)
    sign, place = (each.numpy() for each in model(images / np.float32(255)))
    from metrics_of_dots import found as own

    expected = own({"objects": objects}, {"place": place, "sign": sign}).mean()
    assert line["train"].accuracy.score == pytest.approx(expected, abs=1e-6)


def test_the_fine_tune_teaches_what_the_trained_network_says(line) -> None:
    details = line["prune"].details
    assert details.parameters_after < 0.7 * details.parameters_before
    before = details.rounds[0].accuracy_before_finetune.score
    assert line["prune"].accuracy.score > before


def test_int8_finds_as_many_objects(line) -> None:
    scores = {str(each.name): each.accuracy.score for each in line["build"].engines}
    for backend in BACKENDS:
        assert scores[f"{backend}.int8"] >= 0.99 * scores[f"{backend}.fp32"]
    assert line["build"].details.first_mismatch is None
    assert line["build"].details.choice.metric == "own metrics_of_dots:found"


def test_other_code_of_the_metric_makes_another_signature(line, root, tmp_path) -> None:
    kept = Signature.read(root / "train").metric_sha256
    (tmp_path / "dots_again.py").write_text(textwrap.dedent(METRIC) + "# changed\n")
    sys.path.insert(0, str(tmp_path))
    try:
        refused(root, tmp_path, quality=Quality(metric="dots_again:found"))
    finally:
        sys.path.remove(str(tmp_path))
    assert len(kept) == 64
    assert Signature.read(tmp_path).metric_sha256 not in ("", kept)


def test_taylor_needs_a_loss(line, root, tmp_path) -> None:
    settings = PruneStage(
        **{name: each for name, each in sections(root).items() if name != "quality"},
        prune=Prune(criterion="taylor", epochs=1, distillation=0.5),
    )
    with pytest.raises(SettingsError, match="is 'taylor', which is of a loss"):
        prune.run(settings, {"train": root / "train"}, tmp_path)


def test_a_task_of_no_output_is_refused(root, tmp_path) -> None:
    model = Model(source=str(root / "detector.keras"), tasks={"objects": "raw"})
    with pytest.raises(SettingsError, match="names 'objects', the outputs of the"):
        refused(root, tmp_path, model=model)


def refused(root: Path, tmp_path: Path, epochs: int = 0, **shared: Any) -> Any:
    settings = TrainStage(**{**sections(root), **shared}, train=Train(epochs=epochs))
    return train.run(settings, {}, tmp_path)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("fails", "quality.metric 'metrics_of_dots:fails' raised KeyError: 'boxes'"),
        ("unknown", "quality.metric 'metrics_of_dots:unknown' is nan of"),
        ("too_many", r"is an array \(.*, 4, 4, 1\) of .* images, expected finite numbers"),
        ("absent", "quality.metric 'metrics_of_dots:absent' cannot be imported"),
    ],
)
def test_a_metric_that_says_nothing_is_an_error(root, tmp_path, function, words) -> None:
    quality = Quality(metric=f"metrics_of_dots:{function}")
    with pytest.raises(ModelError, match=words):
        refused(root, tmp_path, quality=quality)


def test_lower_is_better_counts_what_is_missing_to_one(line, root, tmp_path) -> None:
    quality = Quality(metric="metrics_of_dots:missed", higher_is_better=False)
    found = refused(root, tmp_path, quality=quality)
    assert found.accuracy.score == pytest.approx(line["train"].accuracy.score)


def test_what_no_loss_is_known_of_is_not_trained(root, tmp_path) -> None:
    with pytest.raises(SettingsError, match="train: no loss is known of the output 'sign'"):
        refused(root, tmp_path, epochs=1)


def test_without_a_metric_labels_of_no_output_are_refused(root, tmp_path) -> None:
    with pytest.raises(DataError, match=r"output 'objects': the labels are float32 \(300, 3, 2\)"):
        refused(root, tmp_path, quality=Quality())


def test_without_a_metric_raw_outputs_are_judged_by_nothing(root, tmp_path) -> None:
    images, _, targets = drawn(100, seed=4)
    arrays = {f"{y}/{name}": each for y in ("y_train", "y_test") for name, each in targets.items()}
    np.savez(tmp_path / "heads.npz", x_train=images, x_test=images, **arrays)
    data = Data(name="npz", path=str(tmp_path / "heads.npz"), calibration_samples=8)
    model = Model(source=str(root / "detector.keras"), tasks={"place": "raw", "sign": "raw"})
    with pytest.raises(SettingsError, match="the output 'sign' is raw, and so judged by nothing"):
        refused(root, tmp_path, quality=Quality(), model=model, data=data)


def test_a_signature_keeps_the_metric(line, root) -> None:
    kept = json.loads((root / "prune" / "signature.json").read_text())
    assert (kept["metric"], kept["higher_is_better"]) == ("metrics_of_dots:found", True)
