"""Which images, and which network learns them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from stages.datasets.registry import DATASETS
from stages.settings.base import Count, Positive, Section, Share

if TYPE_CHECKING:
    Name = str
else:
    Name = Literal[tuple(DATASETS)]


class Data(Section):
    """The images and labels, and how they are divided."""

    name: Name = "digits"
    """`digits` ships with scikit-learn (the extra `digits`) and needs no network; the others read
    `path`, and those of keras.datasets are downloaded by Keras if it is not set."""
    path: str | None = None
    """For `folder`, a folder with `train/<class>/*` and `test/<class>/*`; else an `.npz` in the
    layout of keras.datasets.mnist, or its http or https address."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")] | None = None
    """Checksum that a file fetched from the address in `path` must have."""
    max_download_mib: Positive = 2048
    """A file fetched from an address may be no larger."""
    skip_bad_images: bool = False
    """With `folder`: leave out files that cannot be read, and count them in the record, where
    otherwise the first of them ends the run."""
    test_samples: Count = 0
    """Test images to use, of each class in proportion to its size; 0 takes all of them."""
    validation_share: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.1
    """Share of the training images held back to choose the best weights."""
    calibration_samples: Positive = 128
    """Training images held back to calibrate INT8 ranges; they are never trained on, so
    the ranges are those of unseen images."""
    image_size: Count = 0
    """Height and width in pixels that `folder` resizes to; 0 keeps the first image's size."""
    scale: float = 1 / 255
    """The model sees pixel * scale + offset."""
    offset: float = 0.0
    """See `scale`."""
    shift_pixels: Count = 1
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
    seed: Count = 0
    """Decides which images are held back."""

    def external_files(self) -> list[Path]:
        """The data set's own file or folder; what has an address is fetched and kept."""
        return [Path(self.path)] if self.path and "://" not in self.path else []


class Model(Section):
    """Which network is trained."""

    name: str = "mnist_cnn"
    """A name in the table of stages/models."""
    source: str | None = None
    """The user's own model instead: a `.keras` or `.h5` file, or `module:function` that
    returns an untrained or trained Keras model."""
    weights: str = "none"
    """What `vgg16_transfer` starts from: `none` (random), `imagenet` (Keras fetches them), or a
    file of VGG16's weights without its top."""
    freeze_base: bool = False
    """With `vgg16_transfer`: only the last layer learns in the first training. The fine-tunes
    after pruning and quantization train all layers, which have lost something."""
    dropout: Share | None = None
    """Rate of all Dropout layers; 0 is without dropout, none keeps the network's own."""

    def external_files(self) -> list[Path]:
        """The model's file, or the source file of its `module:function`."""
        weights = [] if self.weights in ("none", "imagenet") else [Path(self.weights)]
        return [*weights, *self._source_files()]

    def _source_files(self) -> list[Path]:
        if self.source is None:
            return []
        if ":" not in self.source:
            return [Path(self.source)]
        try:
            spec = importlib.util.find_spec(self.source.split(":")[0])
        except (ImportError, ValueError):
            return []
        return [Path(spec.origin)] if spec and spec.origin else []
