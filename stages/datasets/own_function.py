"""What a function of the user's returns: arrays, a keras.utils.PyDataset or a tf.data.Dataset.

Neither Keras nor TensorFlow is imported here: whoever returns an object of theirs has done so.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages import progress
from stages.artifacts.atomic import replacing
from stages.datasets import cache, inputs
from stages.datasets.base import MOST_CHANNELS, Part, Split, checked_split, numbered
from stages.datasets.registry import Kind
from stages.datasets.several import labels_of
from stages.errors import DataError, shown
from stages.numerics import fields
from stages.settings import Data
from stages.settings.modules import function_of, source_files, unseen

BATCH = 256
ENDLESS = -1
"""What `tf.data.Dataset.cardinality` says of one without end."""
IMAGES = "images uint8 (N, height, width, channels), a dictionary of arrays for several inputs"
EXPECTED = "expected (images, labels), a keras.utils.PyDataset or a tf.data.Dataset"


def class_names(settings: Data) -> tuple[str, ...]:
    """Numbers as names, "0", "1" and so on: one for each distinct training label, if they are."""
    return numbered(read(settings, "train").labels)


def read(settings: Data, part: Part) -> Split:
    """What the function gives for one part, in memory: (N, ..., C), uint8 or float32.

    Raises DataError where data.source is not set, fails, or returns what is not fit, or not what it
    returned before: the splits are drawn by position.
    """
    if settings.source is None:
        raise DataError(
            "the data set 'source' is read from data.source, which is not set",
            "give it: --set data.source=module:function",
        )
    return _read(settings.source, settings.version, part, settings.max_unpacked_mib, settings.kind)


@lru_cache(maxsize=1)  # Class names and images of one part come from one call.
def _read(source: str, version: str | None, part: Part, limit_mib: int, kind: Kind) -> Split:
    returned = _returned(source, part)
    origin = f"data.source {source!r}, {part!r}"
    if isinstance(returned, (tuple, list)):
        split = _checked(returned, origin, kind)
        _refuse_large(split, origin, limit_mib)
    else:
        split = _joined(_batches(returned, origin, kind), origin, limit_mib, kind)
    _refuse_other(split, source, version, part)
    return split


def _returned(source: str, part: Part) -> Any:
    read_part = function_of("data.source", source, DataError)
    try:
        returned = read_part(part)
    except Exception as error:
        raise _failed(f"data.source {source!r}, {part!r}", error) from error
    for name in unseen(source.partition(":")[0]):
        progress.report(f"a change of {name} will not make the training stale: import it by name")
    return returned


def _failed(origin: str, error: Exception) -> DataError:
    return DataError(
        f"{origin} raised {type(error).__name__}: {' '.join(str(error).split())[:200]}",
        'it is called with "train" and "test"; the traceback is in the stage\'s log',
    )


def _batches(returned: Any, origin: str, kind: Kind) -> Iterator[Any]:
    """What a PyDataset or a tf.data.Dataset gives, in its order. Raises DataError."""
    keras, tensorflow = (sys.modules.get(name) for name in ("keras", "tensorflow"))
    if keras and isinstance(returned, keras.utils.PyDataset):
        open_batches: Callable[[Any], Iterable[Any] | None] = _of_py_dataset
    elif tensorflow and isinstance(returned, tensorflow.data.Dataset):
        open_batches = partial(_of_tf_dataset, kind=kind)
    else:
        raise DataError(f"{origin} returned a {type(returned).__name__}, {EXPECTED}")
    try:
        batches = open_batches(returned)
        yield from batches or ()
    except Exception as error:
        raise _failed(origin, error) from error
    if batches is None:
        raise DataError(
            f"{origin} returned a {type(returned).__name__} without end, expected one pass over "
            "all images",
            "leave out repeat(), or count the batches",
        )


def _of_py_dataset(dataset: Any) -> Iterable[Any] | None:
    """None where it is without end."""
    count = dataset.num_batches
    return None if count is None else (dataset[number] for number in range(count))


def _of_tf_dataset(dataset: Any, kind: Kind) -> Iterable[Any] | None:
    """None where it is without end; of single images batches are made."""
    if int(dataset.cardinality()) == ENDLESS:
        return None
    is_single = _is_single(dataset.element_spec, kind)
    batches: Iterable[Any] = (dataset.batch(BATCH) if is_single else dataset).as_numpy_iterator()
    return batches


def _is_single(spec: Any, kind: Kind) -> bool:
    """Whether elements are a sample and its target: (H, W, C), where a batch could be (N, H, W)."""
    if not isinstance(spec, tuple) or len(spec) != 2:
        return False
    pictures, wanted = (list(each.values()) if isinstance(each, dict) else [each] for each in spec)
    image, *others = (getattr(each, "shape", None) for each in pictures)
    targets = (getattr(each, "shape", None) for each in wanted)
    if any(getattr(each, "rank", None) == 0 for each in targets):
        return True
    if others:  # a batch of vectors has two axes
        return any(getattr(each, "rank", None) == 1 for each in (image, *others))
    if kind != "images" or image is None or image.rank != 3:
        return False
    return image[2] in range(1, MOST_CHANNELS + 1)


def _joined(batches: Iterator[Any], origin: str, limit_mib: int, kind: Kind) -> Split:
    """All batches as one part. Raises DataError where they differ in size, or are too much."""
    splits: list[Split] = []
    size = 0
    for number, batch in enumerate(batches):
        split = _checked(batch, f"{origin}, batch {number}", kind)
        splits.append(split)
        size += split.images[:].nbytes + split.labels.nbytes
        if size > limit_mib << 20:
            raise DataError(
                f"{origin} gives more than data.max_unpacked_mib allows, {limit_mib} MiB, and may "
                f"be without end: {number + 1} batches so far",
                "if it ends, and memory holds it: --set data.max_unpacked_mib=MIB",
            )
        _refuse_unlike(split, splits[0], origin, number)
    if not splits:
        raise DataError(f"{origin} gives no batch, expected at least one")
    images = np.concatenate([split.images[:] for split in splits])
    labels = np.concatenate([split.labels for split in splits])
    return Split(images, labels, origin=origin)


def _refuse_unlike(split: Split, first: Split, origin: str, number: int) -> None:
    """Raise DataError where batch `number` cannot be joined to the first."""
    if split.images.dtype.names or first.images.dtype.names:
        expected = inputs.forms(first.images)
        inputs.refuse_unlike(split.images, expected, origin, f"batch {number}")
    if split.images.shape[1:] != first.images.shape[1:]:
        raise DataError(
            f"{origin}: images of batch {number} are {split.images.shape[1:]}, those of the "
            f"first {first.images.shape[1:]}",
            "resize all to one size",
        )
    if split.images.dtype != first.images.dtype:
        raise DataError(
            f"{origin}: images of batch {number} are read as {split.images.dtype}, those of "
            f"the first as {first.images.dtype}",
            "give all of them in one type",
        )
    shapes = [[each.shape[1:] for each in fields.parts(one.labels)] for one in (split, first)]
    if fields.names(split.labels) != fields.names(first.labels):
        raise DataError(
            f"{origin}: the labels of batch {number} are not of the outputs of the first",
            "give the same dictionary keys in every batch, in one order",
        )
    if shapes[0] != shapes[1]:
        other = next(at for at, pair in enumerate(zip(*shapes, strict=True)) if len(set(pair)) > 1)
        raise DataError(
            f"{origin}: a label of batch {number} is {shapes[0][other]}, one of the first "
            f"{shapes[1][other]}",
            "give labels of one shape",
        )


def _checked(pair: Any, origin: str, kind: Kind) -> Split:
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        got = f"{len(pair)} values" if isinstance(pair, (tuple, list)) else type(pair).__name__
        raise DataError(
            f"{origin}: got {got}, expected images and labels",
            "weights of single images are not supported",
        )
    images, labels = (
        {name: _array(part, origin) for name, part in each.items()}
        if isinstance(each, dict)
        else _array(each, origin)
        for each in pair
    )
    targets = labels_of(labels, origin) if isinstance(labels, dict) else labels
    return checked_split(images, targets, origin, kind)


def _array(given: Any, origin: str) -> NDArray[Any]:
    try:
        array = np.asarray(given) if hasattr(given, "__array__") else None
    except Exception as error:
        raise _failed(origin, error) from error
    if array is None:
        raise DataError(
            f"{origin}: got a {type(given).__name__}, expected arrays of NumPy",
            f"{IMAGES}, and labels, numbers or masks (N, ...)",
        )
    return array


def _refuse_large(split: Split, origin: str, limit_mib: int) -> None:
    mib = math.ceil((split.images[:].nbytes + split.labels.nbytes) / 2**20)
    if mib > limit_mib:
        raise DataError(
            f"{origin} gives {mib} MiB, more than data.max_unpacked_mib allows, {limit_mib} MiB",
            f"if memory holds it: --set data.max_unpacked_mib={mib}",
        )


def _refuse_other(split: Split, source: str, version: str | None, part: Part) -> None:
    """Other images, or another order, would move images from one split to another unseen.

    What the same code gave under the same version is kept as a hash in the cache folder.
    """
    code = [file.read_text(errors="replace") for file in source_files(source.partition(":")[0])]
    key = hashlib.sha256(json.dumps([source, version, part, code]).encode()).hexdigest()[:16]
    kept = cache.folder() / f"source-{key}.sha256"
    digest = hashlib.sha256(json.dumps(split.images.shape).encode())
    if split.images.dtype.names:
        digest.update(inputs.described(inputs.forms(split.images), len(split)).encode())
    digest.update(np.ascontiguousarray(split.images[:]).data)
    digest.update(np.ascontiguousarray(split.labels).data)
    try:
        before = kept.read_text()
    except OSError:
        with replacing(kept) as draft:
            draft.write_text(digest.hexdigest())
        return
    if before != digest.hexdigest():
        raise DataError(
            f"data.source {source!r}, {part!r} gives other images, or another order of them, than "
            f"it did before with data.version {shown(version)}: images would change their split",
            "leave out shuffling and randomness; for new content: --set data.version=NAME",
        )
