"""The architectures of keras.applications, untrained, by the names that Keras gives them."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from stages.errors import ModelError
from stages.keras_graph.walk import Call, apply, rebuild
from stages.models.blocks import BN_MOMENTUM

PREPROCESSING = (layers.Rescaling, layers.Normalization)


def build(name: str, input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """The architecture `name` with random weights; returns logits.

    Its names are APPLICATIONS in stages/settings/networks.py. Without the preprocessing that some
    begin with: images come prepared by `data.scale` and `data.offset`. Raises ModelError for images
    that are too small for it.
    """
    try:
        model = getattr(keras.applications, name)(
            weights=None, input_shape=input_shape, classes=classes, classifier_activation=None
        )
    except ValueError as error:
        raise ModelError(
            f"{name} cannot be built for images of {input_shape}: {str(error).splitlines()[0]}",
            "choose larger images (data.image_size), or another model.name",
        ) from error
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = BN_MOMENTUM
    return rebuild(model, _without_preprocessing)


def _without_preprocessing(call: Call, *args: Any, **kwargs: Any) -> Any:
    if isinstance(call.operation, PREPROCESSING):
        return args[0]
    return apply(call, *args, **kwargs)
