"""The networks that the line can train, by name. A model is one file and one row here."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import keras

from stages import keras_files
from stages.errors import ModelError, SettingsError
from stages.keras_graph.walk import apply, functional, walk
from stages.models import applications, mnist_cnn, resnet8
from stages.settings import Model

Shape = tuple[int, int, int]
Builder = Callable[[Shape, int], keras.Model]

MODELS: dict[str, Builder] = {
    "mnist_cnn": mnist_cnn.build,
    "resnet8": resnet8.build,
    **{name: partial(applications.build, name) for name in applications.NAMES},
}
"""Name -> builder(input shape (H, W, C), classes): an untrained model that returns logits."""


def create(settings: Model, input_shape: Shape, classes: int) -> keras.Model:
    """The model that `settings` ask for: from the table, a file, or `module:function`.

    Raises SettingsError for an unknown name, ModelError if the user's model cannot be had
    or does not take `input_shape` and return `classes` values.
    """
    if settings.source is None:
        return _from_table(settings.name)(input_shape, classes)
    model = _from_source(settings.source)
    if isinstance(model, keras.Sequential) and not model.built:
        model.build((None, *input_shape))
    _check(model, settings.source, input_shape, classes)
    return _with_free_batch(model, input_shape)


def _from_table(name: str) -> Builder:
    if name not in MODELS:
        near = difflib.get_close_matches(name, MODELS, 1) or list(MODELS)
        raise SettingsError(f"model.name {name!r} is unknown", f"did you mean {near[0]!r}?")
    return MODELS[name]


def _from_source(source: str) -> keras.Model:
    if ":" not in source:
        return keras_files.load(Path(source))
    module, _, function = source.partition(":")
    try:
        model = getattr(importlib.import_module(module), function)()
    except (ImportError, AttributeError) as error:
        raise ModelError(
            f"model.source {source!r} cannot be imported: {error}",
            "expected module:function, with the module's folder on PYTHONPATH",
        ) from error
    if not isinstance(model, keras.Model):
        raise ModelError(f"{source} returned a {type(model).__name__}, expected a keras.Model")
    return model


def _check(model: keras.Model, source: str, input_shape: Shape, classes: int) -> None:
    graph = functional(model)
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        counts = f"{len(graph.inputs)} inputs and {len(graph.outputs)} outputs"
        raise ModelError(f"{source} has {counts}, expected one of each")
    got_in, got_out = tuple(graph.inputs[0].shape[1:]), tuple(graph.outputs[0].shape[1:])
    fits = len(got_in) == len(input_shape) and all(
        got in (None, wanted) for got, wanted in zip(got_in, input_shape, strict=True)
    )
    if not fits or got_out != (classes,):
        raise ModelError(
            f"{source} maps {got_in} to {got_out}, "
            f"the data set needs {input_shape} to {(classes,)}",
            "choose the matching data set with data.name and data.path",
        )


def _with_free_batch(model: keras.Model, input_shape: Shape) -> keras.Model:
    """`model` for any number of images of just this shape."""
    image = model.inputs[0]
    if tuple(image.shape) == (None, *input_shape):
        return model
    fixed = keras.Input(input_shape, name=image.name)
    return keras.Model(fixed, walk(model, [fixed], apply)[0], name=model.name)
