"""Transfer learning on VGG16 without its top: features of ImageNet help small data sets.

Simonyan, Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2015.
"""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
from keras import layers

from stages.errors import ModelError

NONE, IMAGENET = "none", "imagenet"
BGR_MEANS = (103.939, 116.779, 123.68)
"""Subtracted from the pixels that the ImageNet weights were trained on, in this order."""
FIRST = "block1_conv1"
FILE = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"


def build(
    input_shape: tuple[int, int, int],
    classes: int,
    weights: str = NONE,
    is_base_frozen: bool = False,
    pixels: tuple[float, float] = (1 / 255, 0.0),
) -> keras.Model:
    """VGG16's thirteen convolutions - average - Dense `classes`, logits.

    `weights` is "none", "imagenet" or a file of the weights without the top; with weights the
    first convolution is changed to take RGB as pixel * scale + offset, which `pixels` says.
    Raises ModelError for images too small or not RGB, and for weights that are not available.
    """
    base = _base(input_shape, weights)
    if weights == NONE:
        _draw_kernels(base)
    else:
        _take_pixels(base.get_layer(FIRST), *pixels)
    for layer in base.layers:
        layer.trainable = not is_base_frozen
    x = layers.GlobalAveragePooling2D(name="average")(base.outputs[0])
    logits = layers.Dense(classes, name="logits")(x)
    return keras.Model(base.inputs[0], logits, name="vgg16_transfer")


def _base(input_shape: tuple[int, int, int], weights: str) -> keras.Model:
    if min(input_shape[:2]) < 32 or (weights != NONE and input_shape[2] != 3):
        raise ModelError(
            f"vgg16_transfer cannot be built for images of {input_shape}: expected 32x32 at "
            "least, and RGB where it starts from weights",
            "choose larger images (data.image_size), or another model.name",
        )
    path = Path(weights).expanduser()
    if weights not in (NONE, IMAGENET) and not path.is_file():
        raise ModelError(
            f"model.weights is {weights!r}: expected none, imagenet or a file, and there is no "
            "such file",
            "check the spelling; a relative path starts at the working directory",
        )
    source = {NONE: None, IMAGENET: IMAGENET}.get(weights, str(path))
    try:
        # Named input: the signature of the line calls it so.
        image = keras.Input(input_shape, name="image")
        return keras.applications.VGG16(include_top=False, weights=source, input_tensor=image)
    except Exception as error:  # Keras raises a bare Exception when the address does not answer
        if weights == IMAGENET:
            message = f"Keras cannot fetch the ImageNet weights of VGG16 ({_first_line(error)})"
        else:
            message = f"{path} holds no weights for VGG16 without its top ({_first_line(error)})"
        raise ModelError(
            message,
            f"fetch {FILE} from where Keras keeps it (storage.googleapis.com/tensorflow/"
            "keras-applications/vgg16), then: --set model.weights=PATH; or start from random "
            "weights: --set model.weights=none",
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _draw_kernels(base: keras.Model) -> None:
    """Random kernels that keep the variance of activations: Keras' default halves it per layer.

    He et al., "Delving Deep into Rectifiers", 2015, equation 10.
    """
    for layer in base.layers:
        if isinstance(layer, layers.Conv2D):
            layer.kernel.assign(keras.initializers.HeNormal()(layer.kernel.shape))


def _take_pixels(layer: keras.layers.Layer, scale: float, offset: float) -> None:
    """Make a convolution of `BGR - means` one of `RGB * scale + offset`.

    Exact, but that black in place of the mean colour surrounds the image.
    """
    kernel, bias = layer.get_weights()  # (3, 3, 3, 64), (64,)
    means = np.array(BGR_MEANS, np.float32) + offset / scale
    bias = bias - np.einsum("hwio,i->o", kernel, means)
    layer.set_weights([kernel[:, :, ::-1] / scale, bias])
