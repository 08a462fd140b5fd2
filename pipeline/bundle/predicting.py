"""`pipeline predict`: files, folders, arrays and lists of names in, an answer per image out."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.bundle import answers
from pipeline.bundle.answers import Answer
from pipeline.bundle.engine import BundledEngine
from stages.errors import DataError, EngineError, UserError, shown

FIRST_FRAME = "first frame"
"""What image_files.py calls it, whose import this module leaves to those who have files."""

STANDARD_INPUT = "-"
ARRAYS = (".npy", ".npz")
PROGRESS_SECONDS = 2.0


class Source(NamedTuple):
    """An image by name, or why there is none."""

    name: str
    image: Path | NDArray[Any] | None
    fault: str = ""


@dataclass
class Tally:
    """What a prediction came to; `seconds` is that of the engine and of reading the files."""

    images: int = 0
    faults: int = 0
    seconds: float = 0.0

    @property
    def in_words(self) -> str:
        """ "12 images in 0.04 s, 300 images per second"."""
        rate = f", {self.images / self.seconds:,.0f} images per second" if self.seconds else ""
        return f"{self.images:,} images in {self.seconds:.2f} s{rate}"


def sources(names: Iterable[str]) -> Iterator[Source]:
    """The images that `names` mean, in order: those of a folder by name, of an array by index."""
    for name in names:
        if name == STANDARD_INPUT:
            yield from sources(line.rstrip("\n") for line in sys.stdin if line.strip())
        elif (path := Path(name)).is_dir():
            yield from _below(path)
        elif path.suffix.lower() in ARRAYS:
            yield from _in_array(path)
        elif not path.exists():
            yield Source(name, None, f"there is no file {shown(name)}")
        else:
            yield Source(name, path)


def _below(folder: Path) -> Iterator[Source]:
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name[0] != ".")
    files = [path for path in found if path.suffix.lower() not in ARRAYS]
    if not files:
        yield Source(str(folder), None, f"{folder} holds no image file")
    for file in files:
        yield Source(str(file), file)


def _in_array(file: Path) -> Iterator[Source]:
    try:
        arrays = _arrays(file)
    except (OSError, ValueError, EOFError) as error:
        yield Source(str(file), None, f"{file} cannot be read as arrays: {error}")
        return
    for name, images in arrays:
        if images.ndim < 3:
            yield Source(name, images)
            continue
        for index, pixels in enumerate(images):
            yield Source(f"{name}[{index}]", pixels)


def _arrays(file: Path) -> list[tuple[str, NDArray[Any]]]:
    """The images in a file: the array itself, or of an archive those that are no labels."""
    content = np.load(file, allow_pickle=False)
    if isinstance(content, np.ndarray):
        return [(str(file), content)]
    with content:
        return [(f"{file}:{key}", content[key]) for key in content if not key.startswith("y")]


def predict(
    engine: BundledEngine,
    images: Iterable[Source],
    top: int,
    batch_size: int,
    tell: Callable[[str], None],
    tally: Tally,
) -> Iterator[Answer]:
    """Answers in the order of `images`, `batch_size` of them at a time.

    What cannot be read is told and counted, and does not end the rest. Raises EngineError for an
    output that is not finite, of which every answer would be one of chance.
    """
    start = last = time.monotonic()
    readable = _readable(engine, images, tell, tally)
    while batch := list(islice(readable, batch_size)):
        found = engine.predict(np.stack([pixels for _, pixels in batch]))
        _refuse_infinite(found.outputs)
        tally.images += len(batch)
        tally.seconds = time.monotonic() - start
        yield from answers.of(found, [name for name, _ in batch], top)
        if time.monotonic() - last > PROGRESS_SECONDS:
            last = time.monotonic()
            tell(f"{tally.images:,} images")


def _refuse_infinite(outputs: NDArray[np.float32]) -> None:
    broken = int(np.count_nonzero(~np.isfinite(outputs).reshape(len(outputs), -1).all(axis=1)))
    if broken:
        raise EngineError(
            f"the outputs of {broken} of {len(outputs)} images are not finite",
            "export an engine of another precision: pipeline export --engine NAME",
        )


def _readable(
    engine: BundledEngine, images: Iterable[Source], tell: Callable[[str], None], tally: Tally
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """The images by name, as the network sees them; the others are told."""
    for source in images:
        try:
            if source.image is None:
                raise DataError(source.fault)
            if isinstance(source.image, Path):
                pixels, changes = engine.read_file(source.image)
                if FIRST_FRAME in changes:
                    tell(f"{source.name}: first frame of an animation")
            else:
                pixels = engine.read(source.image)
            yield source.name, pixels
        except UserError as error:
            tally.faults += 1
            tell(f"left out: {error.message}")
