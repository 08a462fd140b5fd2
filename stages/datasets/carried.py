"""Test images that `convert` carries to the machines that run the engines.

test_images.npy     uint8 or float32 (N, ..., C), read as they are needed; of several inputs (N,)
                    with a field for each
test_labels.npy     int64 (N,), or what else the task has

Two plain arrays, because a zip archive of NumPy cannot be mapped: there may be more images than
memory holds.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from stages.artifacts.signature import Signature
from stages.datasets.base import Split
from stages.datasets.inputs import described, forms, forms_of
from stages.datasets.several import asked_by, checked
from stages.errors import ArtifactError, DataError
from stages.results.conversion import CarriedImages

IMAGES_FILE, LABELS_FILE = "test_images.npy", "test_labels.npy"
BATCH = 256

AGAIN = (
    "make it again where the line was run: pipeline run convert --force; or bring the data set: "
    "--set benchmark.images=test --set data.name=..."
)


def write(test: Split, count: int, folder: Path) -> CarriedImages:
    """Write `count` images of the test split, of each class in proportion; 0 writes all."""
    is_part = 0 < count < len(test)
    part = test.sample(count) if is_part else test
    # Not a map that is written to: on a full disk that ends the process, without a message.
    with (folder / IMAGES_FILE).open("wb") as stream:
        kind = np.lib.format.dtype_to_descr(part.images.dtype)
        header = {"descr": kind, "fortran_order": False, "shape": part.images.shape}
        np.lib.format.write_array_header_1_0(stream, header)
        for start in range(0, len(part), BATCH):
            stream.write(part.images[start : start + BATCH].tobytes())
    np.save(folder / LABELS_FILE, part.labels)
    size = sum((folder / name).stat().st_size for name in (IMAGES_FILE, LABELS_FILE))
    return CarriedImages(images=len(part), test_samples=len(test), size_bytes=size)


def copy(source: Path, to: Path) -> None:
    """Copy what is carried; artifacts of earlier versions carry nothing."""
    for name in (IMAGES_FILE, LABELS_FILE):
        if (source / name).is_file():
            shutil.copyfile(source / name, to / name)


def read(folder: Path) -> Split:
    """The images of `folder`, on disk, and their labels.

    Raises ArtifactError where there are none, or where they are not what its signature describes.
    """
    signature = Signature.read(folder)
    try:
        images = np.load(folder / IMAGES_FILE, mmap_mode="r", allow_pickle=False)
        labels = np.load(folder / LABELS_FILE, allow_pickle=False)
    except FileNotFoundError as error:
        raise ArtifactError(f"{str(folder)!r} carries no test images", AGAIN) from error
    except (OSError, ValueError, EOFError) as error:
        raise ArtifactError(
            f"the test images in {str(folder)!r} are damaged: {error}", AGAIN
        ) from error
    found, expected = forms(images), forms_of(signature)
    if found != expected or len(images) != len(labels) or not len(labels):
        raise ArtifactError(
            f"{IMAGES_FILE} in {str(folder)!r} holds {described(found, len(images))}, expected "
            f"{described(expected, len(labels))}, of at least one image",
            AGAIN,
        )
    name = f"{LABELS_FILE} in {str(folder)!r}"
    given = Split(images, labels, origin=name)
    try:
        split = checked(given, asked_by(signature, given), "test")
    except DataError as error:
        raise ArtifactError(f"{name}: {error.message}", AGAIN) from error
    if split.labels.dtype != labels.dtype:
        raise ArtifactError(f"{name} holds {labels.dtype}, expected {split.labels.dtype}", AGAIN)
    return split
