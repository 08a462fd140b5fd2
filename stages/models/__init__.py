"""The networks that the line can train, by name. A model is one file and one row here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import keras

from stages.datasets.registry import PLACES
from stages.errors import ModelError, SettingsError
from stages.keras_graph.outputs import names_of, with_listed_inputs, with_named_outputs
from stages.keras_graph.plain import plain
from stages.keras_graph.walk import alone, apply, calls, functional, walk
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
from stages.settings import Model
from stages.settings.networks import APPLICATIONS, NETWORKS

Shape = tuple[int, int, int]
InputShapes = tuple[int, ...] | Mapping[str, tuple[int, ...]]
"""That of the only input, or of several by name."""
Shapes = Sequence[tuple[int, ...]] | Mapping[str, Sequence[tuple[int, ...]]]
"""Those of an output that fit, or of several by name."""
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
    if isinstance(model, keras.Sequential) and not model.built and isinstance(input_shape, tuple):
        model.build((None, *input_shape))
    functional(model)  # what has no graph has no list of inputs either
    model = plain(with_listed_inputs(with_named_outputs(model)))
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
    wanted = _check_inputs(model, source, input_shape)
    _check(model, source, wanted, shapes, has_unlabelled)
    model = _with_free_batch(model, wanted)
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
    found = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    if not found:
        raise SettingsError(
            f"model.dropout is {rate}, but {model.name!r} has no Dropout layer",
            "leave it out, or choose a network that has one, as mnist_cnn",
        )
    for layer in found:
        layer.rate = rate


def _check_inputs(model: keras.Model, source: str, shapes: InputShapes) -> list[tuple[int, ...]]:
    """The shapes of the inputs of `model`, in its order. Raises ModelError for other inputs than
    the data are of, and for those of several that do not fit."""
    inputs = functional(model).inputs
    if len(inputs) == 1 and isinstance(shapes, tuple):
        return [shapes]
    names = [each.name for each in inputs]
    if isinstance(shapes, tuple):
        raise ModelError(
            f"{source} has the inputs {', '.join(names)}, but the data are one array",
            "give a dictionary of arrays with these names (data.source), or x_train/NAME in an "
            ".npz: docs/data.md",
        )
    if absent := [name for name in names if name not in shapes]:
        raise ModelError(
            f"{source} has the input {absent[0]!r}, which nobody feeds: the data are of the inputs "
            f"{', '.join(shapes)}",
            "give both the same names",
        )
    if unknown := [name for name in shapes if name not in names]:
        raise ModelError(
            f"{source} has no input {unknown[0]!r}, which the data have; its inputs are "
            f"{', '.join(names)}",
            "leave it out of the data, or give both the same names",
        )
    graph = calls(model)
    read = {id(tensor) for call in graph for tensor in call.inputs}
    for tensor in inputs:
        _check_input(tensor, source, shapes[tensor.name], is_read=id(tensor) in read)
    return [shapes[name] for name in names]


def _check_input(tensor: Any, source: str, wanted: tuple[int, ...], *, is_read: bool) -> None:
    """Raises ModelError for one of several inputs that is not what the data have."""
    name, shape = tensor.name, tuple(tensor.shape[1:])
    if not is_read:
        raise ModelError(
            f"{source} has the input {name!r}, which changes nothing in its outputs",
            "leave it out of the network and the data",
        )
    if not keras.backend.is_float_dtype(tensor.dtype):
        raise ModelError(
            f"{source} takes {tensor.dtype} as its input {name!r}, expected float32, which every "
            "stage gives",
            "make the input float32, and cast it: keras.ops.cast(tensor, 'int32')",
        )
    if not _fits(shape, wanted):
        raise ModelError(
            f"{source} takes {shape} as its input {name!r}, the data have {wanted}",
            "reshape the array; a last axis of one channel: array[..., None]",
        )


def _fits(got: Sequence[int | None], wanted: Sequence[int]) -> bool:
    return len(got) == len(wanted) and all(
        each in (None, size) for each, size in zip(got, wanted, strict=True)
    )


def _check(
    model: keras.Model,
    source: str,
    input_shapes: Sequence[tuple[int, ...]],
    shapes: Shapes,
    has_unlabelled: bool,
) -> None:
    graph = functional(model)
    if not isinstance(shapes, Mapping):
        if len(graph.outputs) != 1:
            raise ModelError(
                f"{source} has the outputs {', '.join(names_of(model))}, but the labels are of one",
                "give labels as a dictionary with these names: docs/tasks.md",
            )
        _check_shapes(model, source, input_shapes, shapes, 0)
        return
    names = names_of(model)
    if set(names) != set(shapes) and not has_unlabelled:
        raise ModelError(
            f"{source} has the outputs {', '.join(names)}, the labels are of {', '.join(shapes)}",
            "give both the same names",
        )
    for index, name in enumerate(names):
        found = shapes.get(name, ())
        _check_shapes(model, f"{source}, output {name!r},", input_shapes, found, index)


def _check_shapes(
    model: keras.Model,
    source: str,
    input_shapes: Sequence[tuple[int, ...]],
    shapes: Sequence[tuple[int, ...]],
    index: int,
) -> None:
    graph = functional(model)
    dtype = keras.backend.standardize_dtype(graph.outputs[index].dtype)
    if not dtype.startswith(("float", "bfloat")):
        raise ModelError(
            f"{source} returns {dtype}, expected floating-point numbers, which engines return",
            "cast it: keras.ops.cast(tensor, 'float32')",
        )
    got_in = [tuple(each.shape[1:]) for each in graph.inputs]
    got_out = tuple(graph.outputs[index].shape[1:])
    fits = all(map(_fits, got_in, input_shapes))
    has_fitting = not shapes or any(_fits(got_out, shape) for shape in shapes)
    if not fits or not has_fitting:
        wanted = " or ".join(map(str, shapes))
        ranks = [len(each) for each in got_in]
        kinds = [kind for kind, places in PLACES.items() if [len(places) + 1] == ranks]
        is_of_other_rank = len(got_in[0]) != len(input_shapes[0]) and kinds
        raise ModelError(
            f"{source} maps {_and(got_in)} to {got_out}, the data set needs {_and(input_shapes)} "
            f"to {wanted}",
            f"if the data are {kinds[0]}: --set data.kind={kinds[0]}"
            if is_of_other_rank
            else "choose the matching data set with data.name and data.path",
        )


def _and(shapes: Sequence[tuple[int | None, ...]]) -> str:
    return " and ".join(map(str, shapes))


def _with_free_batch(model: keras.Model, shapes: Sequence[tuple[int, ...]]) -> keras.Model:
    """`model` for any number of images of just these shapes, one for each input."""
    pairs = list(zip(functional(model).inputs, shapes, strict=True))
    if all(tuple(image.shape) == (None, *shape) for image, shape in pairs):
        return model
    fixed = [keras.Input(shape, name=image.name) for image, shape in pairs]
    return keras.Model(alone(fixed), alone(walk(model, fixed, apply)), name=model.name)
