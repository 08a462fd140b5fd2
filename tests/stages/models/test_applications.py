from __future__ import annotations

import keras
import pytest
from keras import layers

from stages import models
from stages.errors import ModelError
from stages.models import applications
from stages.models.blocks import BN_MOMENTUM
from stages.settings import Model
from stages.settings.networks import APPLICATIONS


def test_every_architecture_of_keras_is_in_the_table():
    theirs = {name for name in dir(keras.applications) if name[0].isupper()}
    assert set(APPLICATIONS) == theirs
    assert theirs < models.MODELS.keys()


@pytest.mark.parametrize("name", ["MobileNetV3Small", "EfficientNetB0"])
def test_an_architecture_maps_prepared_images_to_logits(name):
    model = models.create(Model(name=name), (32, 48, 1), 7)
    assert model.input_shape == (None, 32, 48, 1)
    assert model.output_shape == (None, 7)
    assert not any(isinstance(layer, applications.PREPROCESSING) for layer in model.layers)
    norms = [layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)]
    assert {norm.momentum for norm in norms} == {BN_MOMENTUM}


def test_images_that_are_too_small_are_refused_with_the_smallest_that_fit():
    with pytest.raises(ModelError, match=r"MobileNet .*\(28, 28, 1\).*at least 32x32") as caught:
        models.create(Model(name="MobileNet"), (28, 28, 1), 10)
    assert "data.image_size" in caught.value.hint
