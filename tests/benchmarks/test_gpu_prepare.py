"""Networks for a GPU machine: how their last layer is fitted, and that none is made twice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
from keras import layers
from sklearn.linear_model import Ridge

from pipeline import config
from stages.engines.registry import ENGINES

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import gpu_prepare


def test_the_last_layer_is_the_ridge_regression_of_its_inputs() -> None:
    random = np.random.default_rng(0)
    images, labels = random.normal(size=(40, 4, 4, 1)).astype(np.float32), np.arange(40) % 3
    image = keras.Input((4, 4, 1))
    features = layers.Flatten()(layers.Conv2D(5, 3)(image))
    model = keras.Model(image, layers.Dense(3)(features))
    gpu_prepare.fit_head(model, images, labels)
    inputs = keras.Model(image, features).predict(images, verbose=0)
    centred = inputs - inputs.mean(axis=0)
    expected = Ridge(alpha=0.01 * (centred**2).sum() / len(images))
    expected.fit(centred, 10 * (np.eye(3)[labels] - 1 / 3))
    # Without the mean of the labels: classes that are more frequent are not preferred.
    np.testing.assert_allclose(
        model.predict(images, verbose=0), centred @ expected.coef_.T, atol=1e-4
    )


def test_the_graphs_of_all_engines_on_a_gpu_are_written_and_kept() -> None:
    settings = config.load(overrides=[*gpu_prepare.UNTRAINED, gpu_prepare.EXTRA])
    assert settings.convert.extra_precisions == ("bf16", "fp8")
    for backend in ("tensorrt", "tensorrt_rtx"):
        assert set(ENGINES[backend].sources.values()) <= set(gpu_prepare.KEPT_OF_LARGE)


def test_a_network_that_is_there_is_not_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "resnet50" / "convert"
    folder.mkdir(parents=True)
    (folder / "signature.json").write_text(" " * 1_600_000)
    done = subprocess.run(
        [sys.executable, gpu_prepare.__file__, tmp_path, "--only", "resnet50"],
        capture_output=True,
        text=True,
    )
    assert done.stdout == f"resnet50: 2 MB in {folder}\n"
