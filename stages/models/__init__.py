"""The networks that the line can train, by name. A model is one file and one row here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import keras

from stages.errors import SettingsError
from stages.keras_graph.outputs import with_listed_inputs, with_named_outputs
from stages.keras_graph.plain import plain
from stages.keras_graph.walk import functional
from stages.models import (
    applications,
    ds_cnn,
    lenet,
    mnist_cnn,
    own_source,
    resnet,
    three_block_cnn,
    transfer,
    unet,
    variant,
)
from stages.models.fitting import (
    InputShapes,
    Shapes,
    check_inputs,
    check_outputs,
    with_free_batch,
)
from stages.settings import Model
from stages.settings.networks import APPLICATIONS, NETWORKS

Shape = tuple[int, int, int]
Builder = Callable[[Shape, int], keras.Model]

MODELS: dict[str, Builder] = {
    "ds_cnn": ds_cnn.build,
    "lenet": lenet.build,
    "mnist_cnn": mnist_cnn.build,
    "resnet8": partial(resnet.build, 8),
    "resnet20": partial(resnet.build, 20),
    "three_block_cnn": three_block_cnn.build,
    **{name: partial(applications.build, name) for name in APPLICATIONS},
}
"""Name -> builder(input shape (H, W, C), values): an untrained model that returns logits.

`vgg16_transfer` and what starts from weights are built by transfer.py.
"""
SEGMENTING: dict[str, Builder] = {"unet": unet.build}
"""Those with as many values for every pixel."""


def create(
    settings: Model,
    input_shape: InputShapes,
    outputs: int | Sequence[tuple[int, ...]] | Mapping[str, Sequence[tuple[int, ...]]],
    pixels: tuple[float, float] = (1 / 255, 0.0),
    *,
    has_unlabelled: bool = False,
) -> keras.Model:
    """The model of `settings`: from the table, a file, or `module:function`.

    `input_shape` is that of the only input, or those of several by name.
    `outputs` is the number of values that it returns, or the shapes that fit, of which ours has the
    first; of several outputs these shapes by name. `pixels` are the scale and offset of its inputs,
    for weights trained on other pixels. With `has_unlabelled`, outputs and labels may be others.
    Raises SettingsError for settings that the model has no use for,
    ModelError if weights or the user's model are not available, or if that model does not take
    `input_shape` and return what fits.
    """
    shapes: Shapes = ((outputs,),) if isinstance(outputs, int) else outputs
    if not shapes and (settings.source is None or settings.head is not None):
        raise SettingsError(
            "model.task is 'raw', of which the outputs are the network's own",
            "bring a trained model without model.head: --set model.source=network.keras",
        )
    if settings.source is None:
        if isinstance(shapes, Mapping):
            raise SettingsError(
                f"the labels are of the outputs {', '.join(shapes)}, but {settings.name!r} has one "
                "output",
                "bring a model that has them: --set model.source=module:function",
            )
        if isinstance(input_shape, Mapping):
            raise SettingsError(
                f"the data are of the inputs {', '.join(input_shape)}, but {settings.name!r} has "
                "one input",
                "bring a model that has them: --set model.source=module:function",
            )
        model = _from_table(settings, input_shape, shapes[0], pixels)
    else:
        model = _from_user(settings, settings.source, input_shape, shapes, has_unlabelled)
    _set_dropout(model, settings.dropout)
    return model


def _from_user(
    settings: Model,
    source: str,
    input_shape: InputShapes,
    shapes: Shapes,
    has_unlabelled: bool,
) -> keras.Model:
    if _is_varied(settings) or settings.weights != transfer.NONE:
        raise SettingsError(
            f"model.width, model.kernel and model.weights are for model.name, not for {source}",
            "leave them out: a model of your own has its own filters and weights",
        )
    model = own_source.load(settings)
    own_source.warn_of_own_training(model)
    own_source.warn_of_own_layers(_layers(model))
    if isinstance(model, keras.Sequential) and not model.built and isinstance(input_shape, tuple):
        model.build((None, *input_shape))
    functional(model)  # what has no graph has no list of inputs either
    model = plain(with_listed_inputs(with_named_outputs(model)))
    wanted = check_inputs(model, source, input_shape)
    if settings.head is not None:
        if isinstance(input_shape, Mapping):
            raise SettingsError(
                f"model.head is for one input, the data are of {', '.join(input_shape)}",
                "build the new head in model.source",
            )
        if isinstance(shapes, Mapping):
            raise SettingsError(
                f"model.head is one output, the labels are of {', '.join(shapes)}",
                "build the new heads in model.source",
            )
        model = transfer.with_head(model, settings, _values(shapes[0], "model.head"))
    elif settings.freeze_base:
        raise SettingsError(
            "model.freeze_base leaves nothing of model.source to train without a new head",
            "put one on it: --set model.head=average",
        )
    check_outputs(model, source, wanted, shapes, has_unlabelled)
    model = with_free_batch(model, wanted)
    if ":" in source:
        own_source.check_loadable(model, source)
    return model


def _from_table(
    settings: Model, sample: tuple[int, ...], output: tuple[int, ...], pixels: tuple[float, float]
) -> keras.Model:
    name, has_weights = settings.name, settings.weights != transfer.NONE
    if len(sample) != 3:
        raise SettingsError(
            f"model.name is {name!r}, a network of images (height, width, channels), but a sample "
            f"has the shape {sample}",
            "give a network of your own: --set model.source=module:function",
        )
    input_shape = sample[0], sample[1], sample[2]
    if name in SEGMENTING:
        if len(output) == 1:
            raise SettingsError(
                f"model.name is {name!r}, which answers for each pixel, but the data set asks for "
                f"{output[0]} values for each image",
                f"choose one of {', '.join(MODELS)[:60]}..., or give masks as labels",
            )
        model = SEGMENTING[name](input_shape, output[-1])
        return variant.vary(model, settings.width, settings.kernel)
    classes = _values(output, f"model.name {name!r}")
    if _is_varied(settings) and (name in APPLICATIONS or has_weights):
        raise SettingsError(
            "model.width and model.kernel are for untrained networks of our own, model.name is "
            f"{name!r} and model.weights {settings.weights!r}",
            f"leave them out, or choose one of {', '.join(NETWORKS)}",
        )
    if name == transfer.VGG or (has_weights and name in APPLICATIONS):
        return transfer.build(settings, input_shape, classes, pixels)
    if has_weights or settings.freeze_base or settings.head is not None:
        raise SettingsError(
            "model.weights, model.head and model.freeze_base are for vgg16_transfer and for "
            f"keras.applications with weights, model.name is {name!r}",
            "leave them out, or: --set model.name=vgg16_transfer",
        )
    return variant.vary(MODELS[name](input_shape, classes), settings.width, settings.kernel)


def _values(output: tuple[int, ...], name: str) -> int:
    """How many values there are for an image. Raises SettingsError for those of pixels."""
    if len(output) > 1:
        raise SettingsError(
            f"{name} answers once for each image, but the labels are masks, one for each pixel",
            f"choose one that answers for pixels: --set model.name={next(iter(SEGMENTING))}",
        )
    return output[0]


def _is_varied(settings: Model) -> bool:
    return settings.width != 1 or settings.kernel is not None


def _set_dropout(model: keras.Model, rate: float | None) -> None:
    if rate is None:
        return
    found = [layer for layer in _layers(model) if isinstance(layer, keras.layers.Dropout)]
    if not found:
        raise SettingsError(
            f"model.dropout is {rate}, but {model.name!r} has no Dropout layer",
            "leave it out, or choose a network that has one, as mnist_cnn",
        )
    for layer in found:
        layer.rate = rate
        if not hasattr(layer, "seed_generator"):  # made with a rate of 0
            layer._tracker.unlock()
            layer.seed_generator = keras.random.SeedGenerator(layer.seed)
            layer._tracker.lock()


def _layers(model: keras.Model) -> Iterator[Any]:
    """Those of nested models as well."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _layers(layer)
        else:
            yield layer
