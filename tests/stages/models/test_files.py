from __future__ import annotations

import keras
import numpy as np
import pytest

from stages.errors import ModelError
from stages.models import files
from tests.stages.networks import APPLICATIONS, NETWORKS, images, randomized


@pytest.mark.parametrize("name", [*NETWORKS, *APPLICATIONS])
def test_a_model_comes_back_from_its_file_as_it_was(name, tmp_path):
    model = randomized({**NETWORKS, **APPLICATIONS}[name]())
    expected = model(images(2)).numpy()
    files.save(model, tmp_path / "model.keras")
    assert np.allclose(files.load(tmp_path / "model.keras")(images(2)), expected, atol=1e-6)


def test_the_optimizers_moments_are_not_saved(tmp_path):
    model = NETWORKS["plain"]()
    files.save(model, tmp_path / "untrained.keras")
    model.compile("adam", "mse")
    model.fit(images(8), np.zeros((8, 4)), verbose=0)
    files.save(model, tmp_path / "trained.keras")
    sizes = [(tmp_path / f"{name}.keras").stat().st_size for name in ("untrained", "trained")]
    assert sizes[1] < sizes[0] * 1.1


def test_a_legacy_h5_file_is_loaded(tmp_path):
    model = randomized(NETWORKS["plain"]())
    keras.saving.save_model(model, tmp_path / "model.h5")
    loaded = files.load(tmp_path / "model.h5")
    assert np.allclose(loaded(images(2)), model(images(2)), atol=1e-6)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"no model file .*gone\.keras"):
        files.load(tmp_path / "gone.keras")


def test_a_truncated_file_is_refused_with_its_name(tmp_path):
    path = tmp_path / "model.keras"
    files.save(NETWORKS["plain"](), path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"model\.keras' cannot be loaded"):
        files.load(path)


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_code_in_a_file_is_not_run(suffix, tmp_path):
    image = keras.Input((12, 12, 3))
    twice = keras.layers.Lambda(lambda x: x * 2, output_shape=(12, 12, 3))(image)
    model = keras.Model(image, twice)
    keras.saving.save_model(model, tmp_path / f"model.{suffix}")
    with pytest.raises(ModelError, match="cannot be loaded"):
        files.load(tmp_path / f"model.{suffix}")
