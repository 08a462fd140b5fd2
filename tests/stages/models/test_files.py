from __future__ import annotations

import json
import re
import zipfile

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


def test_what_is_inside_a_frozen_layer_is_frozen_when_it_comes_back(tmp_path):
    image = keras.Input((4, 6))
    attention = keras.layers.MultiHeadAttention(2, 4)
    model = keras.Model(image, keras.layers.Dense(2)(attention(image, image)))
    attention.trainable = False
    files.save(model, tmp_path / "model.keras")
    names = [each.path for each in files.load(tmp_path / "model.keras").trainable_variables]
    assert names == [each.path for each in model.trainable_variables]
    assert len(names) == 2


@keras.saving.register_keras_serializable("tests")
class HalfFrozen(keras.layers.Layer):
    """Of the two layers within it one is always frozen, which no file says."""

    def build(self, shape):
        self.parts = [keras.layers.Dense(6, trainable=number > 0) for number in range(2)]
        for part in self.parts:
            part.build(shape)

    def call(self, x):
        return self.parts[1](self.parts[0](x))


def test_what_the_user_thawed_inside_a_frozen_layer_learns_when_it_comes_back(tmp_path):
    image = keras.Input((4, 6))
    both = keras.layers.Bidirectional(keras.layers.LSTM(3, name="lstm"))
    model = keras.Model(image, keras.layers.Dense(2)(both(HalfFrozen(name="half")(image))))
    both.trainable = model.get_layer("half").trainable = False
    files.save(model, tmp_path / "frozen.keras")
    both.forward_layer.trainable = True
    files.save(model, tmp_path / "thawed.keras")
    for name, learning in (("frozen", 2), ("thawed", 5)):
        loaded = files.load(tmp_path / f"{name}.keras")
        assert len(loaded.trainable_variables) == learning
    assert all(each.trainable for each in loaded.get_layer(both.name).forward_layer.weights)


def test_the_optimizers_moments_are_not_saved(tmp_path):
    model = NETWORKS["plain"]()
    files.save(model, tmp_path / "untrained.keras")
    model.compile("adam", "mse")
    model.fit(images(8), np.zeros((8, 4)), verbose=0)
    files.save(model, tmp_path / "trained.keras")
    sizes = [(tmp_path / f"{name}.keras").stat().st_size for name in ("untrained", "trained")]
    assert sizes[1] < sizes[0] * 1.1


@pytest.mark.parametrize("name", NETWORKS)
def test_models_from_one_file_are_saved_as_the_same_bytes(name, tmp_path):
    source, first, second = (tmp_path / f"{each}.keras" for each in ("source", "first", "second"))
    files.save(randomized(NETWORKS[name]()), source)
    for copy in (first, second):
        files.save(files.load(source), copy)
    assert first.read_bytes() == second.read_bytes()


def test_no_time_of_writing_and_no_memory_address_is_in_a_file(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2), keras.layers.Dense(2)])
    model.compile(keras.optimizers.Adam())
    files.save(model, tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as file:
        dates = {member.date_time[0] for member in file.infolist()}
        metadata = json.loads(file.read("metadata.json"))
        addresses = re.findall(rb'"shared_object_id": (\d+)', file.read("config.json"))
    assert dates == {1980}
    assert metadata["date_saved"].startswith("1980-")
    assert all(int(number) < 100 for number in addresses)


def test_a_legacy_h5_file_is_loaded(tmp_path):
    model = randomized(NETWORKS["plain"]())
    keras.saving.save_model(model, tmp_path / "model.h5")
    loaded = files.load(tmp_path / "model.h5")
    assert np.allclose(loaded(images(2)), model(images(2)), atol=1e-6)


@pytest.mark.parametrize("name", ["plain", "separable", "nested"])
def test_a_model_is_written_as_h5_and_is_the_same(name, tmp_path):
    model = randomized(NETWORKS[name]())
    files.save_h5(model, tmp_path / "model.h5")
    loaded = files.load(tmp_path / "model.h5")
    np.testing.assert_allclose(loaded(images(2)), model(images(2)), rtol=1e-5)


def test_a_model_that_h5_cannot_hold_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"cannot be written as \.h5: Unknown layer: 'LayerScale'"):
        files.save_h5(APPLICATIONS["convnext"](), tmp_path / "model.h5")


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
