"""Which images, and which network learns them."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from stages.datasets.registry import DATASETS, Kind
from stages.settings.base import Count, Distinct, Positive, Section, Seed, Share, usable_path
from stages.settings.networks import known_network
from stages.tasks.registry import OneTask

if TYPE_CHECKING:
    Name = str
else:
    Name = Literal[tuple(DATASETS)]

MOST_PIXELS = 16_384
"""Height and width of an image."""

SMALLEST, LARGEST = 1e-30, 1e30
"""Numbers well inside float32, in which networks compute."""


def _path_or_address(text: str) -> str:
    if "://" not in text:
        return usable_path(text)
    try:
        parts = urlsplit(text)
        is_complete = bool(parts.hostname) and parts.port != 0 and text.isprintable()
    except ValueError:
        is_complete = False
    if not is_complete or parts.scheme not in ("http", "https"):
        # Read after "expected", as below: see pipeline/config.py.
        words = "a path, or an address that begins with http:// or https:// and the name of a host"
        raise PydanticCustomError("address", words)
    return text


def _model_source(text: str) -> str:
    if ":" not in text:
        return usable_path(text)
    if not _names_function(text):
        raise PydanticCustomError("model_source", "a .keras or .h5 file, or module:function")
    return text


def _data_source(text: str) -> str:
    if not _names_function(text):
        raise PydanticCustomError("data_source", "module:function")
    return text


def _names_function(text: str) -> bool:
    module, _, function = text.partition(":")
    return all(part.isidentifier() for part in (*module.split("."), function))


def _weights(text: str) -> str:
    return text if text in RANDOM_OR_FETCHED else usable_path(text)


def _in_float32(value: float) -> float:
    if SMALLEST <= abs(value) <= LARGEST or value == 0 or not math.isfinite(value):
        return value
    raise PydanticCustomError("float32", f"0, or a magnitude from {SMALLEST} to {LARGEST}")


def _nonzero(value: float) -> float:
    if value == 0:
        raise PydanticCustomError("nonzero", "a number other than 0, which makes all images alike")
    return value


RANDOM_OR_FETCHED = ("none", "imagenet")
Float32 = Annotated[float, AfterValidator(_in_float32)]


ColumnName = Annotated[str, Field(min_length=1)]
Column = ColumnName | None

OF_CSV = (
    *("test_path", "split_column", "file_column", "label_column", "target_columns"),
    *("mask_column", "group_column"),
)
"""Settings that describe a CSV file."""


class Data(Section):
    """The images and labels, and how they are divided."""

    name: Name = "digits"
    """`digits` ships with scikit-learn (the extra `digits`) and needs no network; the others read
    `path`, and those of keras.datasets are downloaded by Keras if it is not set."""
    kind: Kind = "images"
    """What the arrays of `npz` and `source` hold: `images` (N, height, width, channels), `signals`
    (N, length, channels) or `volumes` (N, depth, height, width, channels), each also without the
    channels. Signals and volumes are not augmented, and need a `model.source`. Arrays of several
    inputs have axes of their own."""
    path: Annotated[str, AfterValidator(_path_or_address)] | None = None
    """For `folder`, a folder with `train/<class>/*` and `test/<class>/*`; for `masks`, one with
    `train/images/*`, `train/masks/*.png` and the same of `test`; for `csv`, a CSV file with labels
    and the names of images, relative to it; else an `.npz` in the layout of keras.datasets.mnist,
    or its http or https address."""
    test_path: Annotated[str, AfterValidator(usable_path)] | None = None
    """With `csv`: a second file, with the same columns, that lists the test images."""
    split_column: Column = None
    """With `csv`: the column that says train or test; not set takes the only one that does."""
    file_column: Column = None
    """With `csv`: the column of the images' files; not set takes the only one that names files."""
    label_column: Column = None
    """With `csv`: the column of the labels; not set takes the one called label or class, or the
    only one left. Classes are in sorted order."""
    target_columns: Annotated[tuple[ColumnName, ...], Distinct] = ()
    """With `csv`, in place of `label_column`: columns of numbers. Two or more of 0 and 1 are labels
    of which an image has any number; one of 0 and 1 is two classes; others are measured values."""
    mask_column: Column = None
    """With `csv`, in place of `label_column`: the column of the masks' files, a PNG of the class of
    each pixel, relative to the CSV file as images are."""
    group_column: Column = None
    """With `csv`: the column of what belongs together, as images of one patient or video: no group
    is in two of training, validation, calibration and test images. Sizes are kept as nearly as
    whole groups allow."""
    source: Annotated[str, AfterValidator(_data_source)] | None = None
    """A function of yours, `module:function`, instead: called with "train" and with "test", it
    returns images and labels as arrays, a keras.utils.PyDataset or a tf.data.Dataset, always the
    same in the same order. A change in that module, or in one of yours that it imports by name,
    makes the training stale."""
    version: Annotated[str, Field(min_length=1)] | None = None
    """With `source`: what you call the present content of what it reads. Another name makes the
    training stale."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")] | None = None
    """Checksum that a file fetched from the address in `path` must have."""
    max_download_mib: Positive = 2048
    """A file fetched from an address may be no larger."""
    max_unpacked_mib: Positive = 16_384
    """An `.npz` may unpack to no more, for a small file can unpack to more than any memory holds;
    nor may masks, or what `source` returns."""
    hash_contents: bool = False
    """Whether the images of a `folder`, `masks` or `csv` changed is decided by their content, each
    read once, where otherwise names, sizes, times and inodes decide. Those differ in a copy too."""
    skip_bad_images: bool = False
    """With `folder`, `masks` and `csv`: leave out images that cannot be read, or whose masks
    cannot, and count them in the record, where otherwise the first of them ends the run."""
    test_samples: Count = 0
    """Test images to use, of each class in proportion to its size; 0 takes all of them."""
    validation_share: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.1
    """Share of the training images held back to choose the best weights."""
    calibration_samples: Positive = 128
    """Training images held back to calibrate INT8 ranges; they are never trained on, so
    the ranges are those of unseen images."""
    image_size: Annotated[int, Field(ge=0, le=MOST_PIXELS)] = 0
    """Height and width in pixels that `folder`, `masks` and `csv` resize to; 0 keeps those of the
    first image."""
    scale: Annotated[Float32, AfterValidator(_nonzero)] = 1 / 255
    """The model sees value * scale + offset. The default is for pixels from 0 to 255, and is
    refused for values of another type than uint8. Of several inputs those of uint8 are scaled, and
    other values taken as they are."""
    offset: Float32 = 0.0
    """See `scale`."""
    shift_pixels: Annotated[int, Field(ge=0, lt=MOST_PIXELS)] = 1
    """In all trainings images are shifted by up to this many pixels each way, for small sets."""
    flip: bool = False
    """In all trainings half of the images are flipped left to right: not for digits or letters."""
    rotate_degrees: Annotated[float, Field(ge=0.0, le=180.0)] = 0.0
    """In all trainings images are rotated by up to this angle either way."""
    shear_degrees: Annotated[float, Field(ge=0.0, lt=80.0)] = 0.0
    """In all trainings images are sheared by up to this angle either way."""
    zoom: Share = 0.0
    """In all trainings images are scaled up or down by up to this share."""
    contrast: Share = 0.0
    """In all trainings contrast is raised or lowered by up to this share."""
    seed: Seed = 0
    """Decides which images are held back."""

    @field_validator("kind")
    @classmethod
    def _needs_arrays(cls, value: str, info: ValidationInfo) -> str:
        name = info.data.get("name", "npz")
        if value != "images" and name not in ("npz", "source"):
            raise PydanticCustomError("needs_arrays", f"'images', for data.name is {name!r}")
        return value

    @field_validator("shift_pixels", "flip", "rotate_degrees", "shear_degrees", "zoom", "contrast")
    @classmethod
    def _is_for_images(cls, value: float, info: ValidationInfo) -> float:
        kind = info.data.get("kind", "images")
        if kind != "images" and value not in (0, cls.model_fields[str(info.field_name)].default):
            raise PydanticCustomError("for_images", f"the default, for data.kind is {kind!r}")
        return value

    @field_validator(*OF_CSV)
    @classmethod
    def _needs_csv(cls, value: Any, info: ValidationInfo) -> Any:
        name = info.data.get("name", "csv")
        if value and name != "csv":
            # Read after "expected": see pipeline/config.py.
            raise PydanticCustomError("needs_csv", f"none, for data.name is {name!r}")
        return value

    @field_validator("target_columns", "mask_column")
    @classmethod
    def _is_in_place_of(cls, value: Any, info: ValidationInfo) -> Any:
        """One setting says what is right of an image."""
        others = [name for name in ("label_column", "target_columns") if name != info.field_name]
        given = next((name for name in others if info.data.get(name)), None)
        if value and given:
            raise PydanticCustomError("other_column", f"none, for data.{given} is set")
        return value

    @model_validator(mode="before")
    @classmethod
    def _name_follows(cls, values: Any) -> Any:
        """A function alone says what is read."""
        if isinstance(values, dict) and values.get("source") is not None:
            return {"name": "source", **values}
        return values

    @field_validator("source", "version")
    @classmethod
    def _needs_source(cls, value: str | None, info: ValidationInfo) -> str | None:
        name, path = info.data.get("name", "source"), info.data.get("path")
        if value is not None and (name != "source" or path is not None):
            got = f"data.path is {path!r}" if name == "source" else f"data.name is {name!r}"
            raise PydanticCustomError("needs_source", f"none, for {got}")
        return value

    @property
    def shifts(self) -> int:
        """By how many pixels images are shifted; other data are not."""
        return self.shift_pixels if self.kind == "images" else 0

    def external_files(self) -> list[Path]:
        """The data set's own files or folder, or those of the user's that `source` imports.

        What has an address is fetched and kept.
        """
        files = [self.path, self.test_path]
        own = [Path(file) for file in files if file and "://" not in file]
        return [*own, *_files_of(self.source)]

    def listed_files(self) -> dict[str, Path]:
        """Images that CSV files list, by the names there. Raises DataError for an unfit file."""
        if self.name != "csv":
            return {}
        from stages.settings.listing import files  # `csv`, for the few who need it

        tables = self.external_files()
        masks = files(tables, self.mask_column, (), "mask_column") if self.mask_column else {}
        return {**files(tables, self.file_column, self.other_columns), **masks}

    @property
    def other_columns(self) -> tuple[str | None, ...]:
        """Those that are set and name no images."""
        others = (self.label_column, self.mask_column, self.group_column, self.split_column)
        return (*others, *self.target_columns)


def _files_of(source: str | None) -> list[Path]:
    """A file itself, or the files of a `module:function`."""
    if source is None:
        return []
    if ":" not in source:
        return [Path(source)]
    from stages.settings.modules import source_files  # `ast`, for the few who need it

    return source_files(source.split(":")[0])


class Model(Section):
    """Which network is trained."""

    name: Annotated[str, AfterValidator(known_network)] = "mnist_cnn"
    """A network of our own (see the README), or an architecture of keras.applications."""
    task: OneTask | None = None
    """What the network is asked (docs/tasks.md): `classification`, `binary`, `multilabel`,
    `regression` or `segmentation`; not set takes what labels and network tell, and says so where
    they do not."""
    tasks: dict[str, OneTask] = Field(default_factory=dict)
    """The same for outputs of a network that has several, by name, as in `{box = "regression"}`;
    those left out are taken from labels and network."""
    width: Annotated[float, Field(gt=0.0, le=16.0)] = 1.0
    """Times the filters of a network of our own."""
    kernel: Annotated[int, Field(ge=2, le=31)] | None = None
    """Height and width of the kernels of a network of our own, but for those of one pixel; not set
    keeps the network's own. 3 gives the LeNet of many tutorials."""
    source: Annotated[str, AfterValidator(_model_source)] | None = None
    """The user's own model instead: a `.keras` or `.h5` file, or `module:function` that
    returns an untrained or trained Keras model. A change in that module, or in one of yours that
    it imports by name, makes the training stale; data files that it reads do not."""
    trust_source: bool = False
    """With `module:function`: let its Lambda layers run. Their functions are taken from the module
    in every stage; code that a file holds is never run."""
    weights: Annotated[str, AfterValidator(_weights)] = "none"
    """What `vgg16_transfer` and the architectures of keras.applications start from: `none`
    (random), `imagenet` (Keras fetches them), or a file of the architecture's weights, with its
    top or without, in place of which comes the new `head`."""
    head: Literal["average", "convolution"] | None = None
    """The new head: an average over the image, or a convolution of 32 filters and an average, and
    then the classes. With `source` it is put on what the user's model returns; not set leaves that
    as it is, and is `average` elsewhere."""
    freeze_base: bool = False
    """Only the new head learns in the first training, or in `train.frozen_epochs` of it. The
    fine-tunes after pruning and quantization train all layers, which have lost something."""
    dropout: Share | None = None
    """Rate of all Dropout layers; 0 is without dropout, none keeps the network's own."""

    @model_validator(mode="after")
    def _tasks_are_said_once(self) -> "Model":
        if self.task and self.tasks:
            raise ValueError(
                "either model.task, of one output, or model.tasks, of several, not both"
            )
        return self

    @property
    def wanted(self) -> OneTask | dict[str, OneTask] | None:
        """The task that is asked for, or those of outputs by name, if any are."""
        return self.task or self.tasks or None

    def external_files(self) -> list[Path]:
        """The model's file, or those of the user's that its `module:function` imports."""
        weights = [] if self.weights in RANDOM_OR_FETCHED else [Path(self.weights)]
        return [*weights, *_files_of(self.source)]


class Quality(Section):
    """How answers are judged, where it is not the metric of the task that counts."""

    metric: Annotated[str, AfterValidator(_data_source)] | None = None
    """A function of yours, `module:function`, of targets and outputs, arrays (N, ...) each, or
    dictionaries of these by name: it returns a share from 0 to 1, or one for each image, whose mean
    counts. It decides wherever the metric of the task would. Outputs without labels, and labels
    in a dictionary that `model.tasks` does not name, have then no task of their own."""
    higher_is_better: bool = True
    """With `metric`: false counts what is missing to 1."""

    def external_files(self) -> list[Path]:
        """Those of the user's that the module imports."""
        return _files_of(self.metric)
