from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from stages.errors import ModelError
from stages.training import standard_head

MEAN, SPREAD = np.float32([40, -3]), np.float32([12, 0.5])


def test_the_last_layer_answers_in_the_unit_of_the_targets() -> None:
    image = keras.Input((5,))
    model = keras.Model(image, layers.Dense(2)(layers.Dense(4, activation="relu")(image)))
    inputs = np.random.default_rng(0).normal(0, 1, (6, 5)).astype(np.float32)
    standard = np.asarray(model(inputs))
    standard_head.fold(model, MEAN, SPREAD)
    np.testing.assert_allclose(model(inputs), standard * SPREAD + MEAN, rtol=1e-5)


@pytest.mark.parametrize(
    "head", [layers.Dense(2, activation="relu"), layers.Dense(2, use_bias=False), layers.ReLU()]
)
def test_another_last_layer_is_refused_by_name(head: layers.Layer) -> None:
    image = keras.Input((2,))
    with pytest.raises(ModelError, match=f"ends in '{head.name}', expected a linear Dense"):
        standard_head.fold(keras.Model(image, head(image)), MEAN, SPREAD)
