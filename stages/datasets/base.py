"""What a data set is: two parts of images with targets, and the names of its classes.

A module of this package is a data set if it has these two functions; the table in
`stages/datasets/registry.py` lists them.

    class_names(settings) -> tuple[str, ...]    position = label
    read(settings, part) -> Split               its "train" or "test" part, always in one order

Targets other than class numbers are as the task has them (stages/tasks); their names are those of
the labels, values or classes of pixels, or () where they have none.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from stages.datasets import download
from stages.datasets.inputs import inputs_of
from stages.datasets.lazy_images import Images, Indices, take
from stages.datasets.numbers import NUMBERS, finite
from stages.datasets.registry import PLACES, Kind
from stages.datasets.splits import stratified
from stages.errors import DataError, shown
from stages.settings import Data
from stages.tasks.registry import TaskName

Part = Literal["train", "test"]
MOST_CHANNELS = 4
"""More of an image are a mistaken order of the axes."""
SPECIAL = "which is neither a regular file nor a folder: it may never end"


@dataclass(frozen=True, eq=False)
class Split:
    """Images uint8 (N, H, W, C) and their labels int64 (N,), or what else the task asks of each.

    "Images" may also be signals (N, L, C) or volumes (N, D, H, W, C), and values of any kind may be
    float32. Those of several inputs are (N,) with a field for each, in no order that means anything
    (numerics/fields.py). Images may lie on disk and be more than memory holds: index them, a batch
    at a time.
    `skipped` says of every file that was left out why; `changed` counts the images by what was
    done to them. `groups` int64 (N,), where there are any, numbers what must not be divided;
    `strata` int64 (N,) what every split shall have its share of, by default the labels. `origin`
    names the labels in messages.
    """

    images: Images
    labels: NDArray[Any]
    skipped: tuple[str, ...] = ()
    changed: Mapping[str, int] = field(default_factory=dict)
    groups: NDArray[np.int64] | None = None
    strata: NDArray[np.int64] | None = None
    origin: str = "the data set"

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Indices) -> Split:
        """The images at `indices`, in that order."""
        groups, strata = (
            None if each is None else each[indices] for each in (self.groups, self.strata)
        )
        images, labels = take(self.images, indices), self.labels[indices]
        return replace(self, images=images, labels=labels, groups=groups, strata=strata)

    def sample(self, count: int) -> Split:
        """`count` images that stand for all of them, or all if there are not more."""
        return self.take(self.sampled(count))

    def sampled(self, count: int) -> NDArray[np.int64]:
        """The places of `sample`, ascending."""
        return stratified(self.labels if self.strata is None else self.strata, count)


class Target(NamedTuple):
    """What one output is asked: its name, "" of the only one, its task and its classes."""

    name: str
    task: TaskName
    class_names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class DataSet:
    """A data set, divided; no image is in two of the four splits.

    Labels of several outputs have a field for each (numerics/fields.py); the task is then "several"
    and `outputs` say what each is asked.
    """

    name: str
    train: Split
    validation: Split
    calibration: Split
    test: Split
    class_names: tuple[str, ...]
    task: TaskName = "classification"
    outputs: tuple[Target, ...] = ()

    @property
    def targets(self) -> tuple[Target, ...]:
        """What is asked: of each output, or of the only one."""
        return self.outputs or (Target("", self.task, self.class_names),)

    @property
    def skipped(self) -> tuple[str, ...]:
        """Why files were left out, those of the training part first."""
        return self.train.skipped + self.test.skipped

    @property
    def changed(self) -> Mapping[str, int]:
        """Images of both parts by what was done to them."""
        return Counter(self.train.changed) + Counter(self.test.changed)


class DataSetModule(Protocol):
    """The contract above, as a type."""

    def class_names(self, settings: Data) -> tuple[str, ...]:
        """Names of the classes; the position is the label."""

    def read(self, settings: Data, part: Part) -> Split:
        """All images of one part, in an order that never changes."""


def required_path(settings: Data) -> Path:
    """`data.path`, fetched where it is an address.

    Raises DataError where it is not set, names nothing or cannot be fetched.
    """
    if settings.path is None:
        raise DataError(
            f"the data set {settings.name!r} is read from data.path, which is not set",
            "give it: --set data.path=PATH",
        )
    if download.is_address(settings.path):
        return download.fetch(settings.path, settings.sha256, settings.max_download_mib)
    path = Path(settings.path)
    if not path.exists():
        raise DataError(
            f"data.path names {shown(settings.path)}, but there is no such file or folder",
            "check the spelling; a relative path starts at the working directory",
        )
    if not (path.is_file() or path.is_dir()):
        raise DataError(f"data.path is {shown(settings.path)}, {SPECIAL}", "name another path")
    return path


BIDIRECTIONAL = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")


def is_control(character: str) -> bool:
    """Whether a terminal obeys `character`, or no UTF-8 has it."""
    is_direction = unicodedata.bidirectional(character) in BIDIRECTIONAL
    return is_direction or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")


def checked_split(
    images: NDArray[Any] | Mapping[str, NDArray[Any]],
    labels: NDArray[Any],
    origin: str,
    kind: Kind = "images",
) -> Split:
    """Make a Split of arrays from outside, images (N, H, W) or (N, H, W, C), labels (N, ...).

    Of another `kind`: see registry.py; of several inputs by name: see inputs.py. Values of NUMBERS
    (numbers.py) become float32, integer labels (N, 1) become (N,). `origin` names the arrays in
    messages. Raises DataError for images of a wrong dtype or shape, for values that are not finite,
    and for lengths that differ. What the labels must be says the task.
    """
    found = (
        inputs_of(images, origin) if isinstance(images, Mapping) else _checked(images, origin, kind)
    )
    if not labels.ndim or 0 in labels.shape[1:]:
        got = f"of the shape {labels.shape}" if labels.ndim else f"a single {labels.dtype}"
        raise DataError(
            f"{origin}: the labels are {got}, expected one for each image",
            "save an array whose first axis is the images",
        )
    if len(found) != len(labels):
        raise DataError(
            f"{origin}: {len(found)} images but {len(labels)} labels, expected one for each image",
            "save images and labels of the same samples, in the same order",
        )
    if np.issubdtype(labels.dtype, np.integer) and labels.size == len(labels):
        labels = labels.reshape(-1)  # class numbers in a column, as Keras has those of CIFAR-10
    return Split(found, labels, origin=origin)


def _checked(images: NDArray[Any], origin: str, kind: Kind) -> NDArray[Any]:
    """Images of the only input as (N, ..., C), uint8 or float32."""
    if images.dtype != np.uint8 and images.dtype.name not in NUMBERS:
        raise DataError(
            f"{origin}: the {kind} are {images.dtype}, expected uint8, or one of "
            f"{', '.join(NUMBERS)}",
            'convert the array before it is saved: array.astype("float32")',
        )
    places = PLACES[kind]
    if images.ndim not in (len(places) + 1, len(places) + 2) or 0 in images.shape:
        axes = f"N, {', '.join(places)}"
        others = [name for name in PLACES if len(PLACES[name]) + 2 == images.ndim]
        ask = [
            f", or if they are {name}: --set data.kind={name}" for name in others if name != kind
        ]
        raise DataError(
            f"{origin}: the {kind} have the shape {images.shape}, "
            f"expected ({axes}) or ({axes}, channels), none of them 0",
            f"reshape the array before it is saved{''.join(ask)}",
        )
    if kind == "images" and images.ndim == 4 and images.shape[3] > MOST_CHANNELS:
        raise DataError(
            f"{origin}: the images have the shape {images.shape} and so {images.shape[3]} "
            f"channels, expected 1 to {MOST_CHANNELS} as the last axis",
            "if they are (N, channels, height, width): images.transpose(0, 2, 3, 1)",
        )
    images = images if images.dtype == np.uint8 else finite(images, origin, kind)
    return images if images.ndim == len(places) + 2 else images[..., None]


def numbered(labels: NDArray[Any]) -> tuple[str, ...]:
    """Names of class numbers (N,) or (N, 1), "0", "1" and so on: one for each that occurs.

    () for other labels.
    """
    is_class = np.issubdtype(labels.dtype, np.integer) and labels.size == len(labels)
    return tuple(str(label) for label in range(len(np.unique(labels)))) if is_class else ()
