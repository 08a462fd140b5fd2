"""Images that are in two splits, because the data hold them twice.

What belongs to which split is decided by places, so the same image at two places may be trained on
and tested on: the accuracy is then too high, and nothing else would say so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b

from stages import progress
from stages.datasets.base import DataSet, Split
from stages.datasets.lazy_images import Images

BATCH_BYTES = 2**26
"""Of images that are read at once: they may be more than memory holds."""
LEAST_BYTES = 64
"""Of a sample that is looked for."""
MUCH_BYTES = 2**30
"""Of all images: reading them takes seconds."""


def found(dataset: DataSet) -> tuple[str, ...]:
    """Sentences, without a full stop, on images that are among those trained on, byte for byte.

    Labels are not compared: an image with another label is in two splits all the same. A few
    numbers, which repeat by chance, are not looked at.
    """
    if dataset.train.images[:1].nbytes < LEAST_BYTES:
        return ()
    splits = (dataset.train, dataset.validation, dataset.calibration, dataset.test)
    if sum(map(_nbytes, splits)) > MUCH_BYTES:
        progress.report("looking for images that are in two splits")
    learned, validation, calibration, test = (list(_hashes(each.images)) for each in splits)
    part = {*learned, *validation, *calibration}
    return (
        *_told("test", test, part, "in the training part"),
        *_told("validation", validation, set(learned), "among those trained on"),
    )


def _nbytes(split: Split) -> int:
    return len(split) * int(split.images[:1].nbytes)


def _told(name: str, hashes: Sequence[bytes], known: set[bytes], where: str) -> Iterator[str]:
    count = sum(each in known for each in hashes)
    if count:
        yield (
            f"{count:,} of {len(hashes):,} {name} images are {where} as well, byte for byte: "
            "what is right of these says nothing of images never seen"
        )


def _hashes(images: Images) -> Iterator[bytes]:
    """One of each image, of all inputs together."""
    first = images[:1]
    step = max(1, BATCH_BYTES // max(first.nbytes, 1))
    for at in range(0, len(images), step):
        for image in images[at : at + step]:
            yield blake2b(image.tobytes(), digest_size=16).digest()
