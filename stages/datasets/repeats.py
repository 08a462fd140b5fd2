"""Images that are in two splits, because the data hold them twice.

What belongs to which split is decided by places, so the same image at two places may be trained on
and tested on: the accuracy is then too high, and nothing else would say so.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b

from stages.datasets.base import DataSet, Split
from stages.datasets.lazy_images import Images

BATCH_BYTES = 2**26
"""Of images that are read at once: they may be more than memory holds."""


def found(dataset: DataSet) -> tuple[str, ...]:
    """Sentences, without a full stop, on images that are among those trained on, byte for byte.

    Labels are not compared: an image with another label is in two splits all the same.
    """
    learned = set(_hashes(dataset.train.images))
    held_back = (dataset.validation, dataset.calibration)
    part = learned.union(*(_hashes(each.images) for each in held_back))
    return (
        *_told("test", dataset.test, part, "in the training part"),
        *_told("validation", dataset.validation, learned, "among those trained on"),
    )


def _told(name: str, split: Split, known: set[bytes], where: str) -> Iterator[str]:
    count = sum(each in known for each in _hashes(split.images))
    if count:
        yield (
            f"{count:,} of {len(split):,} {name} images are {where} as well, byte for byte: "
            "what is right of these says nothing of images never seen"
        )


def _hashes(images: Images) -> Iterator[bytes]:
    """One of each image, of all inputs together."""
    first = images[:1]
    step = max(1, BATCH_BYTES // max(first.nbytes, 1))
    for at in range(0, len(images), step):
        for image in images[at : at + step]:
            yield blake2b(image.tobytes(), digest_size=16).digest()
