from __future__ import annotations

import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest

from stages import models
from stages.errors import ModelError, SettingsError
from stages.keras_graph.fold import fold
from stages.models import files, own_source
from stages.settings import Model
from tests.stages.networks import SHAPE, images

OWN = """
import keras
from keras import layers, ops

STEP = 2.0

@keras.saving.register_keras_serializable("own")
class Times(layers.Layer):
    def __init__(self, factor, **options):
        super().__init__(**options)
        self.factor = factor
    def call(self, x):
        return x * self.factor
    def get_config(self):
        return {**super().get_config(), "factor": self.factor}

class Unregistered(layers.Layer):
    def call(self, x):
        return x * 2

@keras.saving.register_keras_serializable("own")
class Forgetful(Times):
    def __init__(self, factor=1.0, **options):
        super().__init__(factor, **options)
    def get_config(self):
        return layers.Layer.get_config(self)

def twice(x):
    return x * STEP

def behind(layer):
    image = keras.Input((12, 12, 3), name="image")
    return keras.Model(image, layers.Dense(4)(layers.Flatten()(layer(image))))

def custom():
    return behind(Times(3.0))

def unregistered():
    return behind(Unregistered())

def forgetful():
    return behind(Forgetful(3.0))

def halving():
    # Keras' GLU says that it keeps all channels, and returns half of them.
    image = keras.Input((12, 12, 3), name="image")
    x = layers.Activation("glu")(layers.Conv2D(4, 1)(image))
    return keras.Model(image, layers.Dense(4)(layers.Flatten()(x)))

def with_lambda():
    offset = 0.5
    shift = layers.Lambda(lambda x: ops.abs(x) * STEP + offset)
    return behind(lambda x: layers.Lambda(twice)(shift(x)))
"""


def forget() -> None:
    """What another process would not know."""
    keras.saving.get_custom_objects().clear()
    sys.modules.pop("own_layers", None)


@pytest.fixture(autouse=True)
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "own_layers.py").write_text(OWN)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    before = dict(keras.saving.get_custom_objects())
    yield
    forget()
    keras.saving.get_custom_objects().update(before)


def create(function: str, trust: bool = False) -> keras.Model:
    return models.create(Model(source=f"own_layers:{function}", trust_source=trust), SHAPE, 4)


@pytest.mark.parametrize(("function", "trust"), [("custom", False), ("with_lambda", True)])
def test_what_the_module_defines_is_found_by_later_commands(function, trust, tmp_path):
    model = create(function, trust)
    expected = model(images(2)).numpy()
    files.save(fold(model), tmp_path / "model.keras")
    forget()
    with pytest.raises(ModelError, match="cannot be loaded"):
        files.load(tmp_path / "model.keras")
    own_source.make_known(Model(source=f"own_layers:{function}", trust_source=trust))
    np.testing.assert_allclose(files.load(tmp_path / "model.keras")(images(2)), expected, rtol=1e-5)


def test_no_code_of_a_lambda_layer_is_in_a_file(tmp_path):
    files.save(create("with_lambda", trust=True), tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as file:
        config = file.read("config.json")
    assert b"source>lambda1function" in config
    assert b"__lambda__" not in config


def test_a_lambda_layer_is_refused_until_the_source_is_trusted():
    with pytest.raises(ModelError, match="own_layers:with_lambda has a Lambda layer, ") as caught:
        create("with_lambda")
    assert caught.value.hint == "if it is yours: --set model.trust_source=true"
    assert "\n" not in caught.value.message


def test_trust_in_a_file_is_refused():
    with pytest.raises(SettingsError, match=r"is for model\.source=module:function"):
        models.create(Model(source="network.keras", trust_source=True), SHAPE, 4)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("unregistered", "cannot be saved and loaded again: Could not locate class 'Unregistered'"),
        ("forgetful", "is another function once it was saved and loaded"),
    ],
)
def test_a_layer_that_would_not_come_back_is_refused_before_training(function, reason):
    with pytest.raises(ModelError, match=f"own_layers:{function} {reason}") as caught:
        create(function)
    assert own_source.DECORATOR in caught.value.hint
    assert len(caught.value.message) < 500


def test_a_model_that_cannot_be_computed_is_refused_in_one_line():
    with pytest.raises(ModelError, match="own_layers:halving cannot be computed") as caught:
        create("halving")
    assert "incompatible with the layer" in caught.value.message
    assert "\n" not in caught.value.message


def test_a_module_that_is_gone_is_named_by_later_commands_too():
    with pytest.raises(ModelError, match="'gone:build' cannot be imported"):
        own_source.make_known(Model(source="gone:build"))
    own_source.make_known(Model())
    own_source.make_known(Model(source="network.keras"))


class Trained(keras.Sequential):
    def train_step(self, data):
        raise NotImplementedError


def test_a_training_of_the_users_own_that_will_not_be_called_is_warned_of(caplog):
    own_source.warn_of_own_training(keras.Sequential([keras.Input((2,))]))
    assert not caplog.records
    own_source.warn_of_own_training(Trained([keras.Input((2,))], name="mine"))
    assert "mine is a Trained with train_step() of its own, which nothing here" in caplog.text


class Scaled(keras.layers.Conv2D):
    def call(self, inputs):
        return super().call(inputs) * 2.0


def test_layers_that_compute_in_a_way_of_their_own_are_warned_of(caplog):
    first, plain = Scaled(2, 1, name="first"), keras.layers.Conv2D(2, 1)
    own_source.warn_of_own_layers([plain, keras.layers.ReLU()])
    assert not caplog.records
    own_source.warn_of_own_layers([first, plain, Scaled(2, 1)])
    assert "first is a Scaled, which computes in a way of its own: it is left in" in caplog.text
    assert caplog.text.rstrip().endswith("its channels, and 1 more layers too")
