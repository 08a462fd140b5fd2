"""Whether a user's model and the data fit together, before anything is trained.

`source` names the model in messages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from stages.datasets.registry import PLACES
from stages.errors import ModelError
from stages.keras_graph.outputs import names_of
from stages.keras_graph.walk import alone, apply, calls, functional, walk

InputShapes = tuple[int, ...] | Mapping[str, tuple[int, ...]]
"""That of the only input, or of several by name."""
Shapes = Sequence[tuple[int, ...]] | Mapping[str, Sequence[tuple[int, ...]]]
"""Those of an output that fit, or of several by name."""


def check_inputs(model: keras.Model, source: str, shapes: InputShapes) -> list[tuple[int, ...]]:
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
    read = {id(tensor) for call in calls(model) for tensor in call.inputs}
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


def check_outputs(
    model: keras.Model,
    source: str,
    input_shapes: Sequence[tuple[int, ...]],
    shapes: Shapes,
    has_unlabelled: bool,
) -> None:
    """Raises ModelError for a network that does not map `input_shapes` to `shapes`, or has other
    outputs than the labels are of."""
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


def with_free_batch(model: keras.Model, shapes: Sequence[tuple[int, ...]]) -> keras.Model:
    """`model` for any number of float32 images of just these shapes, one for each input.

    An input of uint8 would make 0 of every scaled pixel.
    """
    pairs = list(zip(functional(model).inputs, shapes, strict=True))
    if all(
        tuple(image.shape) == (None, *shape) and image.dtype == "float32" for image, shape in pairs
    ):
        return model
    fixed = [keras.Input(shape, name=image.name, dtype="float32") for image, shape in pairs]
    return keras.Model(alone(fixed), alone(walk(model, fixed, apply)), name=model.name)
