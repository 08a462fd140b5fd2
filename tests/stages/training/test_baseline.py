from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import layers

from stages.artifacts.signature import Head, Signature
from stages.datasets.base import Split
from stages.errors import ModelError
from stages.numerics import fields
from stages.training.baseline import refuse_chance

SIGNATURE = Signature((1, 1, 1), ("dark", "bright"), 1 / 255, 0.0)


def split(*labels: int) -> Split:
    """One pixel per image, which is the label times 255."""
    truth = np.array(labels)
    return Split((255 * truth).astype(np.uint8).reshape(-1, 1, 1, 1), truth)


def model(kernel: float, bias: float) -> keras.Model:
    """Says "bright" where pixel * kernel + bias is positive."""
    image = keras.Input((1, 1, 1))
    dense = layers.Dense(2)
    built = keras.Model(image, dense(layers.Flatten()(image)))
    dense.set_weights([np.array([[0.0, kernel]]), np.array([0.0, bias])])
    return built


def test_a_model_that_knows_passes():
    refuse_chance(model(2.0, -1.0), split(*[0, 1] * 10), SIGNATURE)


def test_one_answer_for_every_image_is_refused_with_both_shares():
    with pytest.raises(ModelError) as caught:
        refuse_chance(model(0.0, -1.0), split(*[0] * 60, *[1] * 40), SIGNATURE)
    assert caught.value.message == (
        "the trained model is no better than chance: 60.0 % of 100 validation images are right, "
        "and 60.0 % would be by luck"
    )
    assert "data.scale" in caught.value.hint


def test_answers_that_are_all_wrong_are_no_better_than_chance():
    with pytest.raises(ModelError, match=r"0\.0 % of 20 validation images are right"):
        refuse_chance(model(-2.0, 1.0), split(*[0, 1] * 10), SIGNATURE)


def test_a_model_that_finds_a_rare_class_passes_though_the_majority_is_as_often_right():
    images = split(*[0] * 90, *[1] * 10)
    labels = np.roll(images.labels, 5)  # five of each kind are wrong: 90 % as by saying "dark"
    refuse_chance(model(2.0, -1.0), Split(images.images, labels), SIGNATURE)


def test_too_few_images_are_said_to_be():
    with pytest.raises(ModelError, match="3 validation images are too few to tell") as caught:
        refuse_chance(model(2.0, -1.0), split(0, 1, 0), SIGNATURE)
    assert caught.value.hint == "hold back more: --set data.validation_share=0.3"


def test_a_yes_or_no_that_ranks_nothing_is_refused_whatever_most_images_are():
    image, rng = keras.Input((1, 1, 1)), np.random.default_rng(0)
    binary = replace(SIGNATURE, task="binary", output_shape=(1,))
    knows = keras.Model(image, layers.Flatten()(image))
    labels = np.array([0] * 90 + [1] * 10)
    refuse_chance(knows, split(*labels), binary)
    pixels = rng.integers(0, 255, (100, 1, 1, 1), np.uint8)
    with pytest.raises(ModelError, match=r"no better than chance: ROC AUC is \d+\.\d % on 100"):
        refuse_chance(knows, Split(pixels, labels), binary)


def test_every_one_of_several_outputs_must_know_something():
    image = keras.Input((1, 1, 1))
    flat = layers.Flatten()(image)
    knows, guesses = layers.Dense(2, name="knows"), layers.Dense(2, name="guesses")
    built = keras.Model(image, [knows(flat), guesses(flat)])
    knows.set_weights([np.array([[0.0, 2.0]]), np.array([0.0, -1.0])])
    guesses.set_weights([np.zeros((1, 2)), np.array([0.0, -1.0])])
    heads = (
        Head(name, "classification", "logits", ("a", "b"), ()) for name in ("knows", "guesses")
    )
    both = replace(SIGNATURE, task="several", class_names=(), heads=tuple(heads))
    one = split(*[0, 1] * 50)
    labels = fields.joined({"knows": one.labels, "guesses": one.labels})
    with pytest.raises(
        ModelError, match="trained model, output 'guesses', is no better than chance"
    ):
        refuse_chance(built, replace(one, labels=labels, strata=one.labels), both)
