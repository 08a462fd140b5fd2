"""A network with more or fewer filters, and with kernels of another size."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from stages.errors import ModelError

CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D)
FILTERED = (layers.Conv2D, layers.Conv2DTranspose)


def vary(
    model: keras.Model,
    width: float,
    kernel: int | None,
    initializer: type[keras.Initializer] | None = None,
) -> keras.Model:
    """An untrained copy of `model` with `width` times the filters and kernels of `kernel` pixels.

    Convolutions keep one filter at least, and the last layer all; those of one pixel only mix
    channels and keep their size. Dense layers keep their units. Kernels are drawn by `initializer`,
    if given: deep networks without normalisation need one that keeps the variance of activations,
    which Keras' own halves per layer (He et al., "Delving Deep into Rectifiers", 2015, equation
    10). Raises ModelError where a kernel is larger than what is left of the image.
    """

    def varied(layer: Any) -> Any:
        config: dict[str, Any] = layer.get_config()
        if isinstance(layer, FILTERED) and layer is not model.layers[-1]:
            config["filters"] = max(1, round(layer.filters * width))
            if initializer:
                config["kernel_initializer"] = initializer()
        if isinstance(layer, CONVOLUTIONS) and max(layer.kernel_size) > 1 and kernel:
            config["kernel_size"] = (kernel, kernel)
        return type(layer).from_config(config)

    if width == 1 and kernel is None and initializer is None:
        return model
    try:
        return keras.models.clone_model(model, clone_function=varied)
    except ValueError as error:
        raise ModelError(
            f"{model.name} cannot be built with model.kernel {kernel} for images of "
            f"{model.input_shape[1:]}: {str(error).splitlines()[0]}",
            "choose a smaller model.kernel, or larger images",
        ) from error
