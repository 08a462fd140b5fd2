"""The user's own model: from a file, or from a function in a module of theirs.

What a function builds may use layers and functions of the user's. A saved model only names them, so
every stage that loads one imports the module again (`make_known`).
"""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np

from stages import progress
from stages.errors import ModelError, SettingsError
from stages.keras_graph.kernels import WEIGHTED
from stages.keras_graph.kinds import is_kind
from stages.keras_graph.walk import alone
from stages.models import files
from stages.settings import Model
from stages.settings.modules import function_of, unseen

CODE_OF_A_LAMBDA = ("function", "mask", "_output_shape")
"""Attributes of a Lambda layer that may be functions."""
DECORATOR = "@keras.saving.register_keras_serializable()"


@contextmanager
def _precision_of_ours() -> Iterator[None]:
    """A module of the user's that sets Keras' precision for all layers means its own."""
    precision = keras.config.dtype_policy()
    try:
        yield
    finally:
        keras.config.set_dtype_policy(precision)


@_precision_of_ours()
def make_known(settings: Model) -> None:
    """Let Keras know the layers and functions of `model.source`, for models that name them.

    For every stage but the first: there `load` does it. Raises ModelError for a module that cannot
    be imported.
    """
    source = settings.source or ""
    if ":" not in source:
        return
    if settings.trust_source:
        _name_lambdas(_built(source))
    else:
        function_of("model.source", source, ModelError)


@_precision_of_ours()
def load(settings: Model) -> keras.Model:
    """The model of `settings.source`, which is set.

    Raises ModelError for a file or function that gives no model, and for one whose code could not
    be found again by the stages to come; SettingsError for trust in a file.
    """
    source = settings.source or ""
    if ":" not in source:
        if settings.trust_source:
            raise SettingsError(
                f"model.trust_source is for model.source=module:function, got {source!r}",
                "code in a file is never run: build the model in a module of yours",
            )
        return files.load(Path(source))
    model = _built(source)
    for name in unseen(source.partition(":")[0]):
        progress.report(f"a change of {name} will not make the training stale: import it by name")
    lambdas = [layer.name for layer in _lambdas(model)]
    if lambdas and not settings.trust_source:
        raise ModelError(
            f"{source} has a Lambda layer, {lambdas[0]!r}: its function runs in every stage",
            "if it is yours: --set model.trust_source=true",
        )
    _name_lambdas(model)
    return model


def warn_of_own_training(model: keras.Model) -> None:
    """Say which methods of the user's class would train `model`, and will not."""
    own = [
        f"{name}()"
        for name in ("train_step", "compute_loss")
        if not getattr(type(model), name).__module__.startswith("keras.")
    ]
    if own:
        progress.warn(
            f"{model.name} is a {type(model).__name__} with {' and '.join(own)} of its own, which "
            "nothing here calls: it is trained with the loss of the task, and what layers add to it"
        )


def warn_of_own_layers(layers: Iterable[Any]) -> None:
    """Say which layers with a kernel compute in a way of their own, which nothing here reads."""
    own = [each for each in layers if isinstance(each, WEIGHTED) and not is_kind(each, WEIGHTED)]
    if own:
        more = f", and {len(own) - 1} more layers too" if len(own) > 1 else ""
        progress.warn(
            f"{own[0].name} is a {type(own[0]).__name__}, which computes in a way of its own: it "
            f"is left in float and with all its channels{more}"
        )


def check_loadable(model: keras.Model, source: str) -> None:
    """Save and load `model`, before any training. Raises ModelError if it does not come back."""
    fix = f"write above each layer or function of yours: {DECORATOR}, and give layers a get_config"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.keras"
        try:
            files.save(model, file)
            loaded = files.load(file)
        except Exception as error:
            reason = files.reason(error.__cause__ or error)
            raise ModelError(f"{source} cannot be saved and loaded again: {reason}", fix) from error
    random = np.random.default_rng(0)
    shapes = [tuple(side or 32 for side in each.shape[1:]) for each in model.inputs]
    image = alone([random.uniform(0, 1, (1, *shape)).astype(np.float32) for shape in shapes])
    try:
        before, after = (
            [np.asarray(output) for output in keras.tree.flatten(each(image, training=False))]
            for each in (model, loaded)
        )
    except Exception as error:
        why = files.in_one_line(error)
        raise ModelError(
            f"{source} cannot be computed for an image of {shapes[0]}: {why}"
        ) from error
    pairs = zip(before, after, strict=True)
    if not all(np.allclose(*pair, rtol=1e-3, atol=1e-3, equal_nan=True) for pair in pairs):
        raise ModelError(f"{source} is another function once it was saved and loaded", fix)


def _lambdas(model: keras.Model) -> Iterator[keras.layers.Lambda]:
    """Those of nested models as well, in an order that is always the same."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _lambdas(layer)
        elif isinstance(layer, keras.layers.Lambda):
            yield layer


def _name_lambdas(model: keras.Model) -> None:
    """Register the functions of Lambda layers by number, so that files name and do not hold them.

    Keras would store their bytecode, without the names from outside that it uses.
    """
    for number, layer in enumerate(_lambdas(model), start=1):
        for attribute in CODE_OF_A_LAMBDA:
            code = getattr(layer, attribute, None)
            if inspect.isfunction(code) and not _is_registered(code):
                code.__name__ = f"lambda{number}{attribute}"
                keras.saving.register_keras_serializable("source", code.__name__)(code)


def _is_registered(code: Any) -> bool:
    return bool(keras.saving.get_registered_name(code) != code.__name__)


def _built(source: str) -> keras.Model:
    build = function_of("model.source", source, ModelError)
    try:
        model = build()
    except Exception as error:
        raise _failed(source, error) from error
    if not isinstance(model, keras.Model):
        raise ModelError(f"{source} returned a {type(model).__name__}, expected a keras.Model")
    return model


def _failed(source: str, error: Exception) -> ModelError:
    return ModelError(
        f"model.source {source!r} raised {type(error).__name__}: {error}",
        "the traceback is in the stage's log",
    )
