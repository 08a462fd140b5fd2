from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

import keras
import pytest

from stages.datasets.base import DataSet
from stages.settings import Data, Prune, Train, Training
from stages.training.fit import Teacher, TrainingRun, fit
from stages.training.precision import chosen, computing_in
from tests.stages.conftest import DIGITS


def test_auto_is_bfloat16_where_the_processor_multiplies_it_in_amx() -> None:
    cpuinfo = Path("/proc/cpuinfo")
    has_amx = cpuinfo.exists() and "amx_bf16" in cpuinfo.read_text()
    assert chosen("auto", xla=False) == ("bfloat16" if has_amx else "float32")


def test_xla_stays_with_float32_unless_it_is_told() -> None:
    assert chosen("auto", xla=True) == "float32"
    assert chosen("bfloat16", xla=True) == "bfloat16"


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_precision_that_is_set_is_taken(precision: str) -> None:
    assert chosen(precision, xla=False) == precision


def test_train_and_prune_compute_in_float32_unless_told_otherwise() -> None:
    assert (Train().precision, Prune().precision) == ("float32", "float32")
    assert Prune.model_validate({"precision": "auto"}).precision == "auto"


def test_the_logits_of_each_output_are_made_in_float32() -> None:
    image = keras.Input((8,))
    x = keras.layers.Dense(4, name="hidden")(image)
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="nested")])
    outputs = [
        keras.layers.Dense(3, name="plain")(x),
        keras.layers.Softmax(name="softmax")(keras.layers.Dense(2, name="before")(x)),
        keras.ops.sigmoid(inner(x)),
    ]
    model = keras.Model(image, outputs)
    with computing_in("bfloat16", model):
        found = {each.name: each.compute_dtype for each in model._flatten_layers()}
    heads = ("plain", "softmax", "before", "nested")
    assert {found[name] for name in heads} == {"float32"}
    assert found["hidden"] == "bfloat16"
    assert {each.compute_dtype for each in model._flatten_layers()} == {"float32"}


def in_float32(model: keras.Model) -> set[str]:
    """The layers of `model` with weights that are left in float32."""
    with computing_in("bfloat16", model):
        found = [each for each in model._flatten_layers(False) if each.compute_dtype == "float32"]
    return {each.name for each in found if each.weights and not isinstance(each, keras.Model)}


def headed(*head: keras.layers.Layer) -> keras.Model:
    first = [keras.Input((4, 3)), keras.layers.LSTM(5, return_sequences=True, name="first")]
    return keras.Sequential([*first, *head])


def test_what_scales_or_bends_the_logits_is_in_float32_with_the_layer_that_makes_them() -> None:
    for between in (
        keras.layers.BatchNormalization(name="between"),
        keras.layers.LayerNormalization(name="between"),
        keras.layers.PReLU(name="between"),
        keras.Sequential([keras.Input((4, 2)), keras.layers.PReLU(name="between")]),
    ):
        dense, softmax = keras.layers.Dense(2, name="logits"), keras.layers.Softmax()
        model = headed(dense, between, keras.layers.Dropout(0.1), softmax)
        assert in_float32(model) == {"logits", "between"}


def test_a_recurrent_layer_before_the_softmax_makes_logits_too() -> None:
    last = keras.layers.LSTM(2, name="logits")
    assert in_float32(headed(last, keras.layers.Softmax())) == {"logits", last.cell.name}


def residual(x: Any, name: str) -> Any:
    y = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name=name)(x)
    return keras.layers.Add()([x, y])


@pytest.mark.parametrize("ends_in", [keras.layers.GlobalAveragePooling2D(), keras.layers.ReLU()])
def test_a_sum_of_branches_that_is_the_output_leaves_their_convolutions_fast(ends_in: Any) -> None:
    image = keras.Input((6, 6, 4))
    x = residual(residual(image, "one"), "two")
    assert in_float32(keras.Model(image, x)) == set()
    assert in_float32(keras.Model(image, ends_in(x))) == set()
    logits = keras.layers.Dense(2, name="logits")(keras.layers.Flatten()(x))
    assert in_float32(keras.Model(image, logits)) == {"logits"}


@keras.saving.register_keras_serializable("tests")
class Noting(keras.layers.Layer):
    """Notes what the layer before it computes in."""

    seen: ClassVar[set[str]] = set()

    def call(self, inputs: Any) -> Any:
        self.seen.add(keras.backend.standardize_dtype(inputs.dtype))
        return inputs


def test_a_teacher_answers_in_the_precision_of_the_fine_tune(digits: DataSet) -> None:
    image = keras.Input(DIGITS.input_shape)
    x = keras.layers.Conv2D(2, 3, strides=3)(image)
    x = keras.layers.Flatten()(Noting()(x))
    teacher = keras.Model(image, keras.layers.Dense(10)(x))
    student = keras.Sequential([image, keras.layers.Flatten(), keras.layers.Dense(10)])
    Noting.seen.clear()
    few = dataclasses.replace(digits, train=digits.train.sample(64))
    lesson = TrainingRun(
        few, DIGITS, Training(), "prune", Data(), Teacher(teacher, 0.5), precision="bfloat16"
    )
    fit(student, lesson)
    assert "bfloat16" in Noting.seen
