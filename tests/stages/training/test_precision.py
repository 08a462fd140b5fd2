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
