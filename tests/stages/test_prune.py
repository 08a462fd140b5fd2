from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from stages import evaluate, keras_files, prune
from stages.datasets import DataSet
from stages.errors import DataError, ModelError
from stages.settings import Data, Prune, PruneStage
from stages.signature import Signature
from tests.stages.conftest import DIGITS as SIGNATURE


def run(trained: Path, out: Path, **knobs: Any) -> dict[str, Any]:
    return prune.run(PruneStage(prune=Prune(**knobs)), {"train": trained}, out)


def test_half_the_channels_go_and_the_fine_tune_brings_the_accuracy_back(
    trained: Path, tmp_path: Path, digits: DataSet
) -> None:
    measured = run(trained, tmp_path, ratio=0.5, epochs=4, learning_rate=3e-3)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.keras", "signature.json"]
    assert Signature.read(tmp_path) == SIGNATURE

    details = measured["details"]
    assert [tuple(group.values()) for group in details["groups"]] == [
        (["conv1"], 8, 4),
        (["conv2"], 16, 8),
        (["dense1"], 32, 16),
    ]
    assert details["parameters_after"] < 0.3 * details["parameters_before"]
    broken, repaired = details["accuracy_before_finetune"], measured["accuracy"]
    assert broken["samples"] == repaired["samples"] == 360
    assert broken["top1"] < 0.9 < repaired["top1"]

    model = keras_files.load(tmp_path / "model.keras")
    assert model.count_params() == details["parameters_after"] == measured["model"]["parameters"]
    assert [tensor.name for tensor in model.inputs] == ["image"]
    assert model.output_shape == (None, 10)
    outputs = evaluate.logits(model, SIGNATURE.preprocess(digits.test.images))
    correct = int((outputs.argmax(axis=1) == digits.test.labels).sum())
    assert correct == round(repaired["top1"] * 360)


def test_ratio_0_copies_the_trained_model_byte_for_byte(trained: Path, tmp_path: Path) -> None:
    measured = run(trained, tmp_path, ratio=0.0)
    for name in ("model.keras", "signature.json"):
        assert (tmp_path / name).read_bytes() == (trained / name).read_bytes()
    details = measured["details"]
    assert details["groups"] == []
    assert details["parameters_before"] == details["parameters_after"]
    assert measured["accuracy"]["top1"] > 0.9
    assert measured["latency"][0]["runtime"] == "tf.function"


def test_the_same_seed_prunes_to_the_same_weights(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "once").mkdir()
    (tmp_path / "again").mkdir()
    once, again = (
        keras_files.load(tmp_path / name / "model.keras").get_weights()
        for name in ("once", "again")
        if run(trained, tmp_path / name, ratio=0.75, epochs=1)
    )
    for one, other in zip(once, again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_trained_model_is_left_as_it_is(trained: Path) -> None:
    model = keras_files.load(trained / "model.keras")
    before = model.get_weights()
    small, _ = prune.remove_channels(model, 0.5)
    for variable in small.weights:
        variable.assign(variable * 0)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_the_weakest_channels_go(trained: Path) -> None:
    model = keras_files.load(trained / "model.keras")
    kernel = model.get_layer("conv1").kernel
    weak = [1, 2, 5, 7]
    factor = np.ones(8, np.float32)
    factor[weak] = 1e-3
    kernel.assign(kernel.numpy() * factor)
    small, _ = prune.remove_channels(model, 0.5)
    expected = np.delete(kernel.numpy(), weak, axis=-1)
    np.testing.assert_array_equal(small.get_layer("conv1").kernel.numpy(), expected)


def test_a_ratio_near_one_leaves_one_channel_in_every_group(trained: Path) -> None:
    model = keras_files.load(trained / "model.keras")
    small, widths = prune.remove_channels(model, 0.999)
    assert [group["channels_after"] for group in widths] == [1, 1, 1]
    assert small.get_layer("dense1").units == 1


def test_a_model_in_which_nothing_can_be_removed_is_refused() -> None:
    image = keras.Input((4, 4, 1))
    model = keras.Model(image, layers.Dense(3)(layers.Flatten()(image)), name="linear")
    with pytest.raises(ModelError, match="'linear' has no channels that can be removed") as caught:
        prune.remove_channels(model, 0.5)
    assert caught.value.hint == "leave it as it is: --set prune.ratio=0"


def test_a_ratio_that_removes_no_channel_names_the_smallest_that_does(trained: Path) -> None:
    model = keras_files.load(trained / "model.keras")
    with pytest.raises(ModelError, match=r"0\.01 removes no channel of 'tiny': .* 32 channels"):
        prune.remove_channels(model, 0.01)
    small, _ = prune.remove_channels(model, 0.032)
    assert small.get_layer("dense1").units == 31


def test_a_model_whose_groups_have_one_channel_each_cannot_be_pruned() -> None:
    image = keras.Input((4, 4, 1))
    x = layers.Flatten()(layers.Conv2D(1, 3)(image))
    model = keras.Model(image, layers.Dense(3)(x), name="thin")
    with pytest.raises(ModelError, match="its widest group of layers has 1 channels") as caught:
        prune.remove_channels(model, 0.9)
    assert caught.value.hint == "leave it as it is: --set prune.ratio=0"


def test_a_missing_model_is_refused_and_nothing_is_written(trained: Path, tmp_path: Path) -> None:
    out, source = tmp_path / "out", tmp_path / "train"
    out.mkdir()
    source.mkdir()
    SIGNATURE.write(source)
    with pytest.raises(ModelError, match=r"no model file .*model\.keras"):
        run(source, out)
    assert list(out.iterdir()) == []


def test_data_that_cannot_be_divided_are_refused_before_any_work(
    trained: Path, tmp_path: Path
) -> None:
    settings = PruneStage(data=Data(calibration_samples=1400))
    with pytest.raises(DataError, match=r"data\.calibration_samples is 1400"):
        prune.run(settings, {"train": trained}, tmp_path)
    assert list(tmp_path.iterdir()) == []
