from __future__ import annotations

import keras
import pytest
from keras import layers, ops

from stages.conversion.rehearsal import rehearse
from stages.errors import ConversionError, ModelError
from tests.stages.conversion.onnx.builders import SIGNATURE
from tests.stages.networks import SHAPE, plain


def with_layer(middle: object) -> keras.Model:
    image = keras.Input(SHAPE)
    x = middle(layers.Conv2D(4, 3)(image))
    return keras.Model(image, layers.Dense(4)(layers.Flatten()(x)))


def test_a_model_that_can_be_converted_passes_and_is_not_changed():
    model = plain()
    before = model.get_config(), [weights.tobytes() for weights in model.get_weights()]
    rehearse(model, SIGNATURE)
    assert (model.get_config(), [weights.tobytes() for weights in model.get_weights()]) == before


@pytest.mark.parametrize(
    ("middle", "error", "message"),
    [
        (lambda x: ops.real(ops.fft2((x, x))[0]), ConversionError, "tf2onnx cannot convert"),
    ],
)
def test_what_no_converter_knows_is_refused_in_one_line(middle, error, message):
    with pytest.raises(error, match=message) as caught:
        rehearse(with_layer(middle), SIGNATURE)
    assert "\n" not in caught.value.message
    assert caught.value.hint == "replace the layer that uses this operation"


def test_what_litert_alone_does_not_know_is_a_warning(caplog):
    rehearse(with_layer(layers.Resizing(8, 8, interpolation="bicubic")), SIGNATURE)
    (warned,) = [each for each in caplog.messages if "there will be no LiteRT engine" in each]
    assert "'tf.ResizeBicubic' op" in warned


def test_whatever_a_converter_raises_becomes_one_line():
    image = keras.Input(SHAPE)
    x = layers.Conv2D(4, 3, padding="same")(layers.RandomCrop(6, 6)(image))
    model = keras.Model(image, layers.Dense(4)(layers.Flatten()(x)))
    with pytest.raises(ConversionError, match="cannot be converted: ValueError: ") as caught:
        rehearse(model, SIGNATURE)
    assert "\n" not in caught.value.message


def test_a_model_without_a_layer_to_quantize_is_refused():
    image = keras.Input(SHAPE)
    with pytest.raises(ModelError, match="no convolution or Dense layer"):
        rehearse(keras.Model(image, layers.GlobalAveragePooling2D()(image)), SIGNATURE)
