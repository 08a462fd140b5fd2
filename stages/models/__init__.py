"""The networks that the line can train, by name. A model is one file and one row here."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import keras

from stages import progress
from stages.errors import ModelError, SettingsError, nearest, shown
from stages.keras_graph.walk import apply, functional, walk
from stages.models import (
    applications,
    ds_cnn,
    files,
    lenet,
    mnist_cnn,
    resnet,
    three_block_cnn,
    vgg16_transfer,
)
from stages.settings import Model
from stages.settings.modules import TAKEN, is_users, own_file, source_files

Shape = tuple[int, int, int]
Builder = Callable[[Shape, int], keras.Model]

MODELS: dict[str, Builder] = {
    "ds_cnn": ds_cnn.build,
    "lenet": lenet.build,
    "mnist_cnn": mnist_cnn.build,
    "resnet8": partial(resnet.build, 8),
    "resnet20": partial(resnet.build, 20),
    "three_block_cnn": three_block_cnn.build,
    "vgg16_transfer": vgg16_transfer.build,
    **{name: partial(applications.build, name) for name in applications.NAMES},
}
"""Name -> builder(input shape (H, W, C), classes): an untrained model that returns logits."""


def create(
    settings: Model,
    input_shape: Shape,
    classes: int,
    pixels: tuple[float, float] = (1 / 255, 0.0),
) -> keras.Model:
    """The model of `settings`: from the table, a file, or `module:function`.

    `pixels` are the scale and offset of its inputs, for weights trained on other pixels.
    Raises SettingsError for an unknown name and for settings that the model has no use for,
    ModelError if weights or the user's model are not available, or if that model does not take
    `input_shape` and return `classes` values.
    """
    if settings.source is None:
        model = _from_table(settings, pixels)(input_shape, classes)
    else:
        model = _from_user(settings.source, input_shape, classes)
    _set_dropout(model, settings.dropout)
    return model


def _from_user(source: str, input_shape: Shape, classes: int) -> keras.Model:
    model = _from_source(source)
    if isinstance(model, keras.Sequential) and not model.built:
        model.build((None, *input_shape))
    _check(model, source, input_shape, classes)
    return _with_free_batch(model, input_shape)


def _from_table(settings: Model, pixels: tuple[float, float]) -> Builder:
    name = settings.name
    if name not in MODELS:
        near = nearest(name, MODELS) or next(iter(MODELS))
        raise SettingsError(f"model.name {shown(name)} is unknown", f"did you mean {near!r}?")
    if MODELS[name] is vgg16_transfer.build:
        return partial(
            vgg16_transfer.build,
            weights=settings.weights,
            is_base_frozen=settings.freeze_base,
            pixels=pixels,
        )
    if settings.weights != vgg16_transfer.NONE or settings.freeze_base:
        raise SettingsError(
            f"model.weights and model.freeze_base are for vgg16_transfer, model.name is {name!r}",
            "leave them out, or: --set model.name=vgg16_transfer",
        )
    return MODELS[name]


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


def _imported(module: str) -> ModuleType:
    """The user's module, also where it is called as one of our packages.

    Such a one is loaded by its file, under another name: what it imports by the taken name is ours.
    """
    file = own_file(module) if module.partition(".")[0] in TAKEN else None
    if file is None:
        return importlib.import_module(module)
    spec = spec_from_file_location(f"own_{module.replace('.', '_')}", file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{str(file)!r} is no module")
    loaded = module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def _from_source(source: str) -> keras.Model:
    if ":" not in source:
        return files.load(Path(source))
    module, _, function = source.partition(":")
    try:
        build = getattr(_imported(module), function)
    except (ImportError, AttributeError) as error:
        hint = "expected module:function, with the module's folder on PYTHONPATH"
        if module.partition(".")[0] in TAKEN:
            hint = f"rename your package: {' and '.join(TAKEN)} are names of ours"
        raise ModelError(f"model.source {source!r} cannot be imported: {error}", hint) from error
    except Exception as error:
        raise _failed(source, error) from error
    try:
        model = build()
    except Exception as error:
        raise _failed(source, error) from error
    _report_unseen(module)
    if not isinstance(model, keras.Model):
        raise ModelError(f"{source} returned a {type(model).__name__}, expected a keras.Model")
    return model


def _failed(source: str, error: Exception) -> ModelError:
    return ModelError(
        f"model.source {source!r} raised {type(error).__name__}: {error}",
        "the traceback is in the stage's log",
    )


def _report_unseen(module: str) -> None:
    """Name the user's modules whose changes will not be noticed: found only by running them."""
    followed = {file.resolve() for file in source_files(module)}
    folders = {file.parent for file in followed}
    for name, loaded in list(sys.modules.items()):
        file = Path(getattr(loaded, "__file__", None) or "")
        if file.suffix != ".py" or not is_users(file) or file.resolve() in followed:
            continue
        if folders & set(file.resolve().parents):
            progress.report(
                f"a change of {name} will not make the training stale: import it by name"
            )


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
