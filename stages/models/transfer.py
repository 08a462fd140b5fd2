"""Transfer learning: an architecture of keras.applications without its top, and a new head.

What was learned from ImageNet helps small data sets. `vgg16_transfer` is VGG16 in this way also
without weights: Simonyan, Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
Recognition", 2015.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from stages.errors import ModelError
from stages.keras_graph.walk import apply, walk
from stages.models.blocks import relu
from stages.models.variant import vary
from stages.settings import Model

NONE, IMAGENET = "none", "imagenet"
VGG = "vgg16_transfer"
FILTERS = 32
"""Of the head's own convolution."""

Pixels = tuple[float, float]
"""`data.scale` and `data.offset`."""


def build(
    settings: Model, input_shape: tuple[int, int, int], classes: int, pixels: Pixels
) -> keras.Model:
    """`settings.name` without its top - new head with `classes` logits.

    With weights, which were learned on other pixels, the network begins with a Rescaling from what
    `pixels` makes of an image to what the architecture was trained on. Raises ModelError for images
    that are too small or not RGB, and for weights that are not available.
    """
    base = backbone(settings, input_shape)
    image = keras.Input(input_shape, name="image")
    x = image
    if settings.weights != NONE:
        x = _take_pixels(base, settings.name, pixels)(x)
    # Layer by layer: a nested model would hide the names of its layers.
    model = keras.Model(image, walk(base, [x], apply)[0], name=settings.name)
    return with_head(model, settings, classes)


def with_head(base: keras.Model, settings: Model, classes: int) -> keras.Model:
    """`base`, which returns features (N, H, W, C) or (N, C), with the new head of `settings`.

    With `settings.freeze_base` only the head learns.
    """
    if settings.freeze_base:
        base.trainable = False
    x = base.outputs[0]
    if settings.head == "convolution":
        if len(x.shape) != 4:
            raise ModelError(
                f"model.head=convolution needs features of (N, height, width, channels), got "
                f"{tuple(x.shape)}",
                "--set model.head=average",
            )
        x = relu(layers.Conv2D(FILTERS, 3, padding="same", name="head_conv")(x), "head")
    if len(x.shape) == 4:
        x = layers.GlobalAveragePooling2D(name="average")(x)
    return keras.Model(base.inputs[0], layers.Dense(classes, name="logits")(x), name=base.name)


def architecture(name: str) -> str:
    """The name in keras.applications."""
    return "VGG16" if name == VGG else name


def backbone(settings: Model, input_shape: tuple[int, int, int]) -> keras.Model:
    """The architecture without its top, with the weights of `settings`. Raises ModelError."""
    name = architecture(settings.name)
    if settings.weights != NONE and input_shape[2] != 3:
        raise ModelError(
            f"{settings.name} starts from weights for RGB, images are {input_shape}",
            "start without: --set model.weights=none",
        )
    try:
        base = getattr(keras.applications, name)(
            include_top=False, weights=None, input_shape=input_shape
        )
    except ValueError as error:
        raise ModelError(
            f"{settings.name} cannot be built for images of {input_shape}: {_first_line(error)}",
            "choose larger images (data.image_size), or another model.name",
        ) from error
    if settings.weights == NONE:
        return vary(base, settings.width, settings.kernel, keras.initializers.HeNormal)
    _load(base, name, settings.weights)
    return base


def _load(base: keras.Model, name: str, weights: str) -> None:
    """Give `base` the weights, from a file with the top or without."""
    try:
        if weights == IMAGENET:
            full = getattr(keras.applications, name)(
                include_top=False, weights=IMAGENET, input_shape=base.input_shape[1:]
            )
            base.set_weights(full.get_weights())
            return
        path = _existing(weights)
        try:
            base.load_weights(path)
        except ValueError:
            full = getattr(keras.applications, name)(weights=None)
            full.load_weights(path)
            for layer in base.layers:
                layer.set_weights(full.get_layer(layer.name).get_weights())
    except ModelError:
        raise
    except Exception as error:  # Keras raises a bare Exception when the address does not answer
        if weights == IMAGENET:
            message = f"Keras cannot fetch the ImageNet weights of {name} ({_first_line(error)})"
        else:
            message = f"{weights} holds no weights for {name} ({_first_line(error)})"
        raise ModelError(
            message,
            "fetch a file of the weights, with or without the top, from where Keras keeps them "
            "(storage.googleapis.com/tensorflow/keras-applications), then: --set "
            "model.weights=PATH; or start from random weights: --set model.weights=none",
        ) from error


def _existing(weights: str) -> Path:
    path = Path(weights).expanduser()
    if not path.is_file():
        raise ModelError(
            f"model.weights is {weights!r}: expected none, imagenet or a file, and there is no "
            "such file",
            "check the spelling; a relative path starts at the working directory",
        )
    return path


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _take_pixels(base: keras.Model, name: str, pixels: Pixels) -> layers.Rescaling:
    """From the line's RGB to what `base` was trained on; BGR becomes the order of its kernel."""
    order, factors, offsets = affine(_module(architecture(name)).preprocess_input)
    scale, offset = pixels
    if list(order) != [0, 1, 2]:
        first = next(layer for layer in base.layers if isinstance(layer, layers.Conv2D))
        kernel = first.kernel.numpy()
        turned = np.empty_like(kernel)
        turned[:, :, order] = kernel
        first.kernel.assign(turned)
    factor = factors / scale
    return layers.Rescaling(
        factor.tolist(), (offsets - offset * factor).tolist(), name="pixels_of_weights"
    )


def affine(
    prepare: Callable[[Any], Any],
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """A function of pixels as (order, factors, offsets), each (3,), found by trying it.

    Its output k is pixel[c] * factors[c] + offsets[c] with c = order[k].
    """
    probes = np.concatenate([np.zeros((1, 3)), 255 * np.eye(3)]).astype(np.float32)
    black, *primary = np.asarray(prepare(probes[:, None, None].copy()), np.float64).reshape(4, 3)
    matrix = (np.array(primary) - black) / 255  # [pixel c, output k]
    order = np.abs(matrix).argmax(axis=0)
    outputs = np.argsort(order)
    return order, matrix[np.arange(3), outputs], black[outputs]


def _module(name: str) -> Any:
    """The module of keras.applications that has the architecture and its preprocess_input."""
    modules = vars(keras.applications).values()
    return next(each for each in modules if isinstance(each, ModuleType) and hasattr(each, name))
