"""Arrays of several inputs of a network: (N,) with a field for each (numerics/fields.py)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.artifacts.node_names import NAME
from stages.artifacts.signature import Signature
from stages.datasets.lazy_images import Images
from stages.datasets.numbers import NUMBERS, finite
from stages.errors import DataError, SettingsError, shown
from stages.numerics import fields
from stages.settings import Data

RANKS = range(2, 6)
"""Axes of vectors (N, K), signals (N, L, C), images (N, H, W, C) and volumes (N, D, H, W, C)."""


class Form(NamedTuple):
    """Shape and type of one sample."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def is_image(self) -> bool:
        """Whether it is an image (H, W, C), of pixels or other values."""
        return len(self.shape) == 3


def forms(images: Images) -> dict[str, Form]:
    """Of the samples of each input, by its name: "" of the only one."""
    kind = images.dtype
    if kind.names is None:
        return {"": Form(tuple(images.shape[1:]), kind)}
    return {name: Form(kind[name].shape, kind[name].base) for name in kind.names}


def forms_of(signature: Signature) -> dict[str, Form]:
    """Those of the data of a network with this signature."""
    return {
        each.input_name if signature.inputs else "": Form(
            each.input_shape, np.dtype(each.data_dtype)
        )
        for each in signature.each_input
    }


def inputs_of(given: Mapping[str, NDArray[Any]], origin: str) -> NDArray[Any]:
    """Arrays (N, ...) by input as one array (N,) with fields, sorted by name.

    Those of NUMBERS (numbers.py) become float32. Raises DataError for names that engines do not
    take, for a wrong dtype or shape, for lengths that differ, and for values that are not finite.
    """
    names = sorted(given, key=str)
    if len(names) < 2:
        raise DataError(
            f"{origin}: got arrays of {len(names)} inputs, expected two or more in a dictionary",
            "give the array of the only input by itself",
        )
    for name in names:
        _check(name, given[name], origin)
    lengths = {name: len(given[name]) for name in names}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{count} of {name!r}" for name, count in lengths.items())
        raise DataError(
            f"{origin}: the inputs are {counts}, expected one of each for each sample",
            "save the inputs of the same samples, in the same order",
        )
    return fields.joined({name: _values(name, given[name], origin) for name in names})


def _values(name: str, array: NDArray[Any], origin: str) -> NDArray[Any]:
    return array if array.dtype == np.uint8 else finite(array, f"{origin}, input {name!r}", "rows")


def _check(name: Any, array: NDArray[Any], origin: str) -> None:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise DataError(
            f"{origin}: an input is named {shown(name)}, expected letters, digits, dots, dashes "
            "and underscores",
            "name it as the model does, spelled in these: 'left eye' as 'left_eye'",
        )
    if array.dtype != np.uint8 and array.dtype.name not in NUMBERS:
        raise DataError(
            f"{origin}: the input {name!r} is {array.dtype}, expected uint8, or one of "
            f"{', '.join(NUMBERS)}",
            'convert the array first: array.astype("float32")',
        )
    if array.ndim not in RANKS or 0 in array.shape:
        raise DataError(
            f"{origin}: the input {name!r} has the shape {array.shape}, expected (N, values), "
            "(N, length, channels), (N, height, width, channels) or those of volumes, none of "
            "them 0",
            "give one number of each sample a second axis: array[:, None]",
        )


def refuse_unlike(images: Images, expected: Mapping[str, Form], origin: str, which: str) -> None:
    """Raises DataError where the inputs of `images`, those of `which`, are not as `expected`.

    `origin` names the arrays in messages."""
    found = forms(images)
    if set(found) != set(expected):
        raise DataError(
            f"{origin}: {which} has {listed(found)}, expected {listed(expected)}",
            "give arrays of the same inputs everywhere",
        )
    for name, form in found.items():
        if form != expected[name]:
            raise DataError(
                f"{origin}: the input {name!r} of {which} is {form.shape} {form.dtype}, expected "
                f"{expected[name].shape} {expected[name].dtype}",
                "give it one shape and one type everywhere",
            )


def listed(names: Iterable[str]) -> str:
    """ "the inputs camera, table", or "one input without a name"."""
    given = ", ".join(names)
    return f"the inputs {given}" if given else "one input without a name"


def described(found: Mapping[str, Form], count: int) -> str:
    """Of `count` samples: "camera (9, 8, 8, 1) uint8, table (9, 4) float32"."""
    return ", ".join(
        f"{name} {(count, *form.shape)} {form.dtype}".strip() for name, form in found.items()
    )


def check_settings(settings: Data, images: Images) -> None:
    """Raises SettingsError for what is set and means nothing for these inputs."""
    if settings.kind != "images":
        raise SettingsError(
            f"data.kind is {settings.kind!r}, which is of one array, but there are "
            f"{listed(forms(images))}",
            "leave it out: each input has the axes of its array",
        )
    found = forms(images).values()
    pictures = [form for form in found if form.is_image]
    is_scaled = settings.scale not in (1.0, Data().scale) or settings.offset
    if is_scaled and not any(form.dtype == np.uint8 for form in found):
        raise SettingsError(
            f"data.scale is {settings.scale:g} and data.offset {settings.offset:g}, which are of "
            "inputs of uint8, but all are numbers, which are taken as they are",
            "leave them out, and scale in the network",
        )
    moving = ("flip", "rotate_degrees", "shear_degrees", "zoom")
    wanted = [name for name in moving if getattr(settings, name) and not pictures]
    if settings.contrast and not any(form.dtype == np.uint8 for form in pictures):
        wanted.append("contrast")
    if wanted:
        of = " of uint8" * (wanted[0] == "contrast")
        raise SettingsError(
            f"data.{wanted[0]} is of images{of}, of which there are none among the inputs",
            "leave it out",
        )
