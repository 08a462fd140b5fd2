from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from stages.artifacts.signature import Signature
from stages.datasets.base import DataSet
from stages.keras_graph.fold import flatten
from stages.keras_graph.plain import plain
from stages.settings import Training
from stages.training.fit import TrainingRun, fit
from stages.training.inferring import inferring
from tests.stages.conftest import DIGITS

SHAPE = (6, 8)
SEQUENCES = np.random.default_rng(0).normal(size=(4, *SHAPE)).astype(np.float32)


class Noisy(layers.Layer):
    """Dropout within, and `training` is nothing that it is asked."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.dropout = layers.Dropout(0.5)

    def call(self, x: Any) -> Any:
        return self.dropout(x)


class Normed(layers.Layer):
    """Batch normalisation and dropout within."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.norm, self.noisy = layers.BatchNormalization(), Noisy()

    def build(self, shape: Any) -> None:
        self.norm.build(shape)
        self.built = True

    def call(self, x: Any, training: bool | None = None) -> Any:
        return self.noisy(self.norm(x))


def attention(x: Any) -> Any:
    return layers.MultiHeadAttention(2, 4, dropout=0.5)(x, x)


BASES: dict[str, Callable[[Any], Any]] = {
    "attention": attention,
    "recurrent": layers.LSTM(4, dropout=0.5, recurrent_dropout=0.5, return_sequences=True),
    "dot attention": lambda x: layers.Attention(dropout=0.5)([x, x]),
    "additive attention": lambda x: layers.AdditiveAttention(dropout=0.5)([x, x]),
    "volumes in time": lambda x: layers.ConvLSTM1D(
        3, 3, padding="same", dropout=0.5, recurrent_dropout=0.5
    )(layers.Reshape((3, 2, 8))(x)),
    "cell": layers.RNN(layers.GRUCell(3, dropout=0.5, recurrent_dropout=0.5)),
    "stacked cells": layers.RNN([layers.LSTMCell(3, dropout=0.5), layers.SimpleRNNCell(2)]),
    "wrapped recurrence": lambda x: layers.Bidirectional(layers.LSTM(3, dropout=0.5))(x),
    "wrapper": layers.TimeDistributed(layers.BatchNormalization()),
    "wrapped dropout": layers.TimeDistributed(layers.Dropout(0.5)),
    "own": Normed(),
}


def told_to_infer(base: Callable[[Any], Any], *behind: layers.Layer) -> keras.Model:
    inside = keras.Input(SHAPE)
    inner = keras.Model(inside, base(inside))
    x = inner(sequence := keras.Input(SHAPE), training=False)
    for layer in behind:
        x = layer(x)
    return keras.Model(sequence, layers.Dense(2)(layers.Flatten()(x)))


@pytest.mark.parametrize("copied", [lambda model: model, plain, flatten])
@pytest.mark.parametrize("name", BASES)
def test_what_is_called_with_training_false_computes_the_same_in_training(name, copied) -> None:
    model = copied(told_to_infer(BASES[name]))
    expected, before = model(SEQUENCES, training=False), model.get_weights()
    kinds = [type(layer) for layer in model._flatten_layers()]
    with inferring(model):
        assert np.array_equal(model(SEQUENCES, training=True), expected)
    assert all(map(np.array_equal, before, model.get_weights()))
    assert kinds == [type(layer) for layer in model._flatten_layers()]


def test_the_cell_of_a_model_of_another_precision_is_rebuilt_in_float32_without_dropout() -> None:
    inside, sequence = keras.Input(SHAPE), keras.Input(SHAPE)
    cell = layers.GRUCell(3, dropout=0.5, dtype="mixed_bfloat16")
    inner = keras.Model(inside, layers.RNN(cell, dtype="mixed_bfloat16")(inside))
    model = plain(keras.Model(sequence, inner(sequence, training=False)))
    found = [each for each in model._flatten_layers() if isinstance(each, layers.GRUCell)]
    assert [(each.dropout, each.compute_dtype) for each in found] == [(0.0, "float32")]


def test_what_is_behind_it_acts_in_training() -> None:
    for layer in (layers.Dropout(0.5), Noisy(), layers.GaussianNoise(0.5)):
        model = told_to_infer(attention, layer)
        with inferring(model):
            outputs = [np.asarray(model(SEQUENCES, training=True)) for _ in range(2)]
        assert not np.allclose(*outputs)


def test_a_training_moves_no_statistics_within_it(digits: DataSet) -> None:
    image = keras.Input(DIGITS.input_shape, name="image")
    told, free = Normed(name="told"), Normed(name="free")
    x = free(told(image, training=False))
    model = keras.Model(image, layers.Dense(10)(layers.Flatten()(x)))
    few = replace(digits, train=digits.train.take(np.arange(64)))
    signature: Signature = DIGITS
    fit(model, TrainingRun(few, signature, Training(epochs=1, batch_size=32), "train"))
    assert not told.norm.moving_mean.numpy().any()
    assert free.norm.moving_mean.numpy().any()
