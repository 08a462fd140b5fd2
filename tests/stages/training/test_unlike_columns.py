"""What INT8 would lose of unlike numbers is said before the training."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
from keras import layers

from stages.artifacts.signature import Signature
from stages.datasets.base import Split
from stages.numerics import fields
from stages.training.unlike_columns import doubts_of_columns
from tests.stages import two_inputs

SIGNAL = Signature((16, 2), ("a", "b"), 1.0, 0.0, data_dtype="float32")


def signals(*spreads: float, mean: float = 0.0) -> Split:
    random = np.random.default_rng(0)
    values = random.normal(mean, spreads, (40, 16, len(spreads))).astype(np.float32)
    return Split(values, np.arange(40) % 2)


def network(*first: keras.layers.Layer) -> keras.Model:
    return keras.Sequential(
        [keras.Input((16, 2)), *first, layers.Conv1D(4, 3), layers.Flatten(), layers.Dense(2)]
    )


@pytest.mark.parametrize(
    ("split", "words"),
    [
        (signals(100, 0.01), "column 1 has a standard deviation of 0.0099:"),
        (signals(1, 2, mean=1000), "steps of 3.9 or more, and its column 0"),
    ],
)
def test_a_column_that_varies_by_less_than_a_step_is_named(split, words):
    (said,) = doubts_of_columns(network(layers.Dropout(0.1)), split, SIGNAL)
    assert "the input 'image'" in said
    assert words in said


def test_alike_columns_constant_ones_and_pixels_are_no_doubt():
    for split in (signals(1, 20), signals(100, 0)):
        assert not list(doubts_of_columns(network(), split, SIGNAL))
    pixels = dataclasses.replace(SIGNAL, data_dtype="uint8")
    assert not list(doubts_of_columns(network(), signals(100, 0.01), pixels))


@pytest.mark.parametrize(
    "layer",
    [
        lambda: layers.Normalization(mean=[0, 0], variance=[10_000, 1e-4]),
        layers.BatchNormalization,
        lambda: layers.Rescaling([0.01, 100]),
    ],
)
def test_what_the_network_makes_alike_is_no_doubt(layer):
    assert not list(doubts_of_columns(network(layer()), signals(100, 0.01), SIGNAL))


def test_of_several_inputs_that_of_numbers_is_named():
    split, model = two_inputs.split(40), two_inputs.network()
    assert not list(doubts_of_columns(model, split, two_inputs.SIGNATURE))
    parts = dict(zip(fields.names(split.images), fields.parts(split.images), strict=True))
    parts["extra"] = parts["extra"] * np.array([1, 1, 1, 1000, 1, 1], np.float32)
    unlike = dataclasses.replace(split, images=fields.joined(parts))
    (said,) = doubts_of_columns(model, unlike, two_inputs.SIGNATURE)
    assert "the input 'extra'" in said
