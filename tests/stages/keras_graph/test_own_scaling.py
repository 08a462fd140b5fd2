from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops
from keras.applications.imagenet_utils import preprocess_input

from stages.artifacts.signature import Signature
from stages.keras_graph.own_scaling import scaling_layers
from tests.stages.networks import NETWORKS

SHAPE = (12, 12, 3)
SIGNATURE = Signature(SHAPE, (), 1 / 255, 0.0)


def names(first: Any) -> list[str]:
    image = keras.Input(SHAPE)
    x = layers.Conv2D(4, 3)(first(image))
    x = layers.Rescaling(2.0, name="behind")(x)
    return scaling_layers(keras.Model(image, layers.Dense(4)(layers.Flatten()(x)) + 1.0), SIGNATURE)


def test_layers_that_scale_pixels_are_found_before_the_first_kernel_only():
    normalization = layers.Normalization(mean=np.zeros(3), variance=np.ones(3), name="by_mean")
    rescaling = layers.Rescaling(1 / 255, name="by_255")
    assert names(lambda x: normalization(rescaling(x))) == ["by_255", "by_mean"]
    assert names(lambda x: rescaling(layers.ZeroPadding2D()(x))) == ["by_255"]
    nested = keras.Sequential([keras.Input(SHAPE), rescaling])
    assert names(nested) == ["by_255"]


@pytest.mark.parametrize("mode", ["tf", "torch", "caffe"])
def test_what_keras_preprocesses_inside_a_graph_is_found(mode):
    assert names(lambda x: preprocess_input(x, mode=mode))


def test_arithmetic_on_the_image_is_found_and_other_operations_are_not():
    assert len(names(lambda x: x / 127.5 - 1.0)) == 2
    assert names(lambda x: ops.flip(x, axis=2)) == []
    assert names(layers.BatchNormalization()) == []


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_that_take_prepared_images_have_none(name):
    assert scaling_layers(NETWORKS[name](), SIGNATURE) == []
