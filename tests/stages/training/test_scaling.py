from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import layers
from keras.applications.imagenet_utils import preprocess_input

from stages.artifacts.signature import Signature
from stages.datasets.base import Split
from stages.errors import ModelError
from stages.training.scaling import doubt, refuse_other_scaling

SHAPE = (4, 4, 3)
RAW = Signature(SHAPE, tuple("abcd"), 1.0, 0.0)
BY_255 = replace(RAW, scale=1 / 255)
CENTRED = replace(RAW, scale=1 / 127.5, offset=-1.0)


def lights(count: int = 80) -> Split:
    """Four shades of colours in which red is the brightest."""
    labels = np.arange(count) % 4
    shades = (30 + 60 * labels)[:, None, None, None] - np.array([0, 10, 20])
    noise = np.random.default_rng(0).integers(0, 10, (count, *SHAPE))
    return Split((shades + noise).astype(np.uint8), labels)


def knows(signature: Signature, mode: str | None = None) -> keras.Model:
    """Tells the four shades by their mean over all pixels, prepared in this way."""
    split = lights()
    pixels = split.images.astype(np.float32)
    seen = preprocess_input(pixels, mode=mode) if mode else signature.preprocess(split.images)
    means = [float(seen[split.labels == label].mean()) for label in range(4)]
    width = means[1] - means[0]
    image = keras.Input(SHAPE)
    # Each logit is the better the nearer its shade: m * x - m * m / 2, in units of a step.
    dense = layers.Dense(4)
    model = keras.Model(image, dense(layers.Flatten()(image)))
    centres = np.array(means) / width
    kernel = np.tile(centres / width / 48, (48, 1))
    dense.set_weights([kernel, -(centres**2) / 2])
    return model


def behind(model: keras.Model, first: keras.layers.Layer) -> keras.Model:
    image = keras.Input(SHAPE)
    return keras.Model(image, model(first(image)))


@pytest.mark.parametrize("signature", [RAW, BY_255, CENTRED], ids=["1", "1/255", "-1 to 1"])
def test_the_scaling_that_a_model_was_trained_with_passes(signature):
    refuse_other_scaling(knows(signature), lights(), signature, "network.keras")


@pytest.mark.parametrize(
    ("trained", "given", "words", "fix"),
    [
        (
            RAW,
            BY_255,
            "with scale 1, 25.0 % with scale 1/255",
            "--set data.scale=1 --set data.offset=0",
        ),
        (
            BY_255,
            RAW,
            "with scale 1/255, 25.0 % with scale 1",
            "--set data.scale=0.00392156862745098 --set data.offset=0",
        ),
        (
            CENTRED,
            BY_255,
            "with scale 1/127.5 and offset -1, 25.0 % with scale 1/255",
            "--set data.scale=0.00784313725490196 --set data.offset=-1",
        ),
    ],
)
def test_another_scaling_is_found_and_named_with_both_accuracies(trained, given, words, fix):
    with pytest.raises(ModelError) as caught:
        refuse_other_scaling(knows(trained), lights(), given, "network.keras")
    assert caught.value.message == (
        "network.keras was trained on other pixels: 100.0 % of 80 validation images are right "
        + words
    )
    assert caught.value.hint == fix


def test_a_network_that_scales_its_own_pixels_is_said_to():
    model = behind(knows(BY_255), layers.Rescaling(1 / 255, name="by_255"))
    refuse_other_scaling(model, lights(), RAW, "own.keras")
    with pytest.raises(ModelError, match=r"own\.keras scales its own pixels \(by_255\): 100\.0 %"):
        refuse_other_scaling(model, lights(), BY_255, "own.keras")


@pytest.mark.parametrize("mode", ["torch", "caffe"])
def test_a_scaling_that_two_numbers_cannot_express_is_named_with_what_can(mode):
    with pytest.raises(ModelError, match="ImageNet's means") as caught:
        refuse_other_scaling(knows(RAW, mode), lights(), BY_255, "network.keras")
    assert f"mode={mode!r}" in caught.value.hint


def test_a_model_that_knows_nothing_has_no_better_scaling():
    image = keras.Input(SHAPE)
    model = keras.Model(image, layers.Dense(4)(layers.Flatten()(image)))
    model.layers[-1].set_weights([np.zeros((48, 4)), np.arange(4.0)])
    refuse_other_scaling(model, lights(), BY_255, "network.keras")


def test_a_model_to_train_that_would_scale_pixels_twice_is_doubted():
    model = behind(knows(BY_255), layers.Rescaling(1 / 255, name="by_255"))
    assert doubt(model, RAW) is None
    assert doubt(knows(BY_255), BY_255) is None
    assert doubt(model, BY_255) == (
        "the model scales its own pixels (by_255) after scale 1/255 of data: if once is enough, "
        "set data.scale=1"
    )
