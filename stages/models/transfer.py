"""Transfer learning: an architecture of keras.applications without its top, and a new head.

What was learned from ImageNet helps small data sets. `vgg16_transfer` is VGG16 in this way also
without weights: Simonyan, Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
Recognition", 2015.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from stages.errors import ModelError
from stages.keras_graph.walk import apply, copy_weights, walk
from stages.models.blocks import relu
from stages.models.variant import vary
from stages.settings import Model

NONE, IMAGENET = "none", "imagenet"
VGG = "vgg16_transfer"
FILTERS = 32
"""Of the head's own convolution."""

IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of its red, green and blue, in [0, 1]."""

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
            copy_weights(full, base)
        else:
            _read(base, name, _existing(weights))
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
    _divide_by_deviation(base)


def _read(base: keras.Model, name: str, path: Path) -> None:
    """Give `base` the weights of a file. Raises what Keras does."""
    try:
        base.load_weights(path)
    except ValueError:
        # Keras reads the older format by the order of all layers, so into the same ones.
        if not h5py.is_hdf5(path) or not (classes := _classes(path)):
            raise
        full = getattr(keras.applications, name)(weights=None, classes=classes)
        full.load_weights(path)
        # In order: the numbers in the names of layers depend on what else the process has made.
        for layer, own in zip(_with_weights(full), _with_weights(base), strict=False):
            copy_weights(layer, own)


def _with_weights(model: keras.Model) -> list[layers.Layer]:
    return [layer for layer in model.layers if layer.weights]


def _classes(path: Path) -> int | None:
    """How many the network of an `.h5` file in the format of Keras 2 has; None for another file."""
    with h5py.File(path) as file:
        saved = file.get("model_weights", file)
        for name in reversed(saved.attrs.get("layer_names", ())):
            if len(weights := saved[name].attrs["weight_names"]):
                return int(saved[name][weights[-1]].shape[-1])
    return None


def _divide_by_deviation(base: keras.Model) -> None:
    """Where EfficientNet was trained on ImageNet, pixels are divided twice by a square root.

    Keras has a Rescaling for the second one where it fetches the weights, which no file holds
    (https://github.com/tensorflow/tensorflow/issues/49930). Here the Normalization does both.
    """
    adapted = [layer for layer in base.layers if hasattr(layer, "adapt_mean")]
    for layer in adapted:
        if np.allclose(layer.adapt_mean, IMAGENET_MEAN, atol=1e-3):
            layer.adapt_variance.assign(layer.adapt_variance * IMAGENET_DEVIATION)
            layer.finalize_state()


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
    order, factors, offsets = affine(preprocess_input(name))
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


def preprocess_input(name: str) -> Callable[[Any], Any]:
    """That of the module with the architecture: MobileNetV3 has it under another public name."""
    module = inspect.getmodule(getattr(keras.applications, architecture(name)))
    prepare: Callable[[Any], Any] = vars(module)["preprocess_input"]
    return prepare


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
