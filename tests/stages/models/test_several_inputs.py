from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from stages import models
from stages.errors import ModelError, SettingsError
from stages.models import files
from stages.settings import Model
from tests.stages import two_inputs

SHAPES = {"extra": (6,), "pixels": (8, 8, 1)}


@pytest.fixture
def made(tmp_path: Path) -> Any:
    """What `create` makes of a model, saved to a file, for data of these shapes."""

    def make(model: keras.Model, shapes: Any = SHAPES, **settings: Any) -> keras.Model:
        files.save(model, tmp_path / "own.keras")
        return models.create(Model(source=str(tmp_path / "own.keras"), **settings), shapes, 4)

    return make


def names(model: keras.Model) -> list[str]:
    return [tensor.name for tensor in model.inputs]


def test_a_network_keeps_its_inputs_in_its_own_order(made: Any) -> None:
    assert names(made(two_inputs.network())) == ["pixels", "extra"]


def test_a_dictionary_of_inputs_becomes_a_list(made: Any) -> None:
    own = two_inputs.network()
    given = dict(zip(names(own), own.inputs, strict=True))
    model = made(keras.Model(given, own.outputs[0], name="of_a_dictionary"))
    assert isinstance(model.input, list)
    fed = {name: np.ones((2, *SHAPES[name]), np.float32) for name in SHAPES}
    expected = own([fed["pixels"], fed["extra"]])
    found = model([fed[name] for name in names(model)])
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=1e-6)


def joined(*inputs: Any, dtype: str | None = None) -> keras.Model:
    """Four values of images and vectors together."""
    flat = [keras.ops.cast(layers.Flatten()(each), "float32") for each in inputs]
    return keras.Model(list(inputs), layers.Dense(4)(layers.Concatenate()(flat)))


def test_open_sizes_and_batches_become_those_of_the_data_for_every_input(made: Any) -> None:
    image = keras.Input((None, None, 1), batch_size=2, name="pixels")
    flat = layers.GlobalAveragePooling2D()(image)
    vector = keras.Input((6,), name="extra")
    model = made(
        keras.Model([vector, image], layers.Dense(4)(layers.Concatenate()([vector, flat])))
    )
    assert [tuple(each.shape) for each in model.inputs] == [(None, 6), (None, 8, 8, 1)]


@pytest.mark.parametrize("name", ["größe", "in half"])
def test_names_and_precisions_of_every_input_are_made_plain(made: Any, name: str) -> None:
    pixels, extra = keras.Input((8, 8, 1), name=name), keras.Input((6,), name="extra")
    half = layers.Dense(4, dtype="float16", name="half")(extra)
    flat = layers.Dense(4)(layers.Flatten()(pixels))
    own = keras.Model([pixels, extra], layers.Dense(4)(layers.Concatenate()([half, flat])))
    spelled = {"größe": "grosse", "in half": "in_half"}[name]
    model = made(own, {spelled: (8, 8, 1), "extra": (6,)})
    assert names(model) == [spelled, "extra"]
    assert model.get_layer("half").compute_dtype == "float32"


PIXELS = {"shape": (8, 8, 1), "name": "pixels"}


@pytest.mark.parametrize(
    ("inputs", "shapes", "words"),
    [
        ([PIXELS, {"shape": (6,), "name": "more"}], SHAPES, "the input 'more', which nobody feeds"),
        (
            [PIXELS, {"shape": (6,), "name": "extra"}],
            {**SHAPES, "table": (2,)},
            "has no input 'table', which the data have; its inputs are pixels, extra",
        ),
        (
            [PIXELS, {"shape": (6,), "name": "extra"}],
            {**SHAPES, "extra": (5,)},
            r"takes \(6,\) as its input 'extra', the data have \(5,\)",
        ),
        (
            [PIXELS, {"shape": (6,), "name": "extra", "dtype": "int32"}],
            SHAPES,
            "takes int32 as its input 'extra', expected float32",
        ),
        ([PIXELS, {"shape": (6,), "name": "extra"}], (8, 8, 1), "but the data are one array"),
        ([PIXELS], SHAPES, "has no input 'extra', which the data have; its inputs are pixels"),
    ],
)
def test_inputs_that_the_data_do_not_have_are_refused(
    made: Any, inputs: list[dict[str, Any]], shapes: Any, words: str
) -> None:
    given = [keras.Input(**each) for each in inputs]
    own = joined(*given) if len(given) > 1 else keras.Sequential([*given, layers.Flatten()])
    with pytest.raises(ModelError, match=words):
        made(own, shapes)


def test_an_input_that_changes_nothing_is_refused(made: Any) -> None:
    pixels, extra = (keras.Input(SHAPES[name], name=name) for name in ("pixels", "extra"))
    with pytest.raises(ModelError, match="the input 'extra', which changes nothing"):
        made(keras.Model([pixels, extra], layers.Dense(4)(layers.Flatten()(pixels))))


def test_networks_and_heads_of_our_own_are_for_one_input(made: Any) -> None:
    with pytest.raises(SettingsError, match="inputs extra, pixels, but 'mnist_cnn' has one input"):
        models.create(Model(), SHAPES, 4)
    with pytest.raises(SettingsError, match=r"model\.head is for one input, the data"):
        made(two_inputs.network(), head="average")


def test_a_function_of_ones_own_gives_several_inputs(tmp_path, monkeypatch) -> None:
    (tmp_path / "own_of_two.py").write_text(
        "from tests.stages import two_inputs\ndef build():\n    return two_inputs.network()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert names(models.create(Model(source="own_of_two:build"), SHAPES, 4)) == ["pixels", "extra"]
