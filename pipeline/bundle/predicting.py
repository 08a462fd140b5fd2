"""`pipeline predict`: files, folders, arrays and lists of names in, an answer for each out."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.bundle import answers, arrays
from pipeline.bundle.answers import Answer
from pipeline.bundle.contents import Input
from pipeline.bundle.engine import BundledEngine
from stages.errors import DataError, EngineError, UserError, shown
from stages.numerics import fields

FIRST_FRAME = "first frame"
"""What image_files.py calls it, whose import this module leaves to those who have files."""

STANDARD_INPUT = "-"
PROGRESS_SECONDS = 2.0


class Source(NamedTuple):
    """A sample by name, or why there is none."""

    name: str
    sample: Path | NDArray[Any] | None
    fault: str = ""


@dataclass
class Tally:
    """What a prediction came to; `seconds` is that of the engine and of reading the files."""

    samples: int = 0
    faults: int = 0
    seconds: float = 0.0

    def in_words(self, kind: str) -> str:
        """ "12 images in 0.04 s, 300 images per second"."""
        rate = f", {self.samples / self.seconds:,.0f} {kind} per second" if self.seconds else ""
        return f"{self.samples:,} {kind} in {self.seconds:.2f} s{rate}"


def sources(names: Iterable[str], engine: BundledEngine) -> Iterator[Source]:
    """The samples that `names` mean, in order: those of a folder by name, of an array by index."""
    for name in names:
        if name == STANDARD_INPUT:
            yield from _listed(engine)
        elif (path := Path(name)).is_dir():
            yield from _below(path, engine)
        elif not path.exists():
            yield Source(name, None, f"there is no file {shown(name)}")
        else:
            yield from _in_file(path, engine)


def _listed(engine: BundledEngine) -> Iterator[Source]:
    """The samples that the lines of standard input mean."""
    lines = (line.rstrip("\n") for line in sys.stdin if line.strip())
    first = next(lines, None)
    if first is None:
        yield Source("standard input", None, "standard input names no file")
        return
    yield from sources(chain([first], lines), engine)


def _below(folder: Path, engine: BundledEngine) -> Iterator[Source]:
    """The files that a folder of photographs, or of signals, has; others may be beside them."""
    takes_pictures = engine.info.input is not None and engine.info.input.mode is not None
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.name[0] != "."
        and (path.suffix.lower() in arrays.SUFFIXES) != takes_pictures
    ]
    if not files:
        wanted = "image" if takes_pictures else " or ".join(arrays.SUFFIXES)
        yield Source(str(folder), None, f"{folder} holds no {wanted} file")
    for file in files:
        yield from _in_file(file, engine)


def _in_file(file: Path, engine: BundledEngine) -> Iterator[Source]:
    if file.suffix.lower() not in arrays.SUFFIXES:
        yield Source(str(file), file)
        return
    try:
        found = arrays.samples_in(file, engine.info.each_input)
    except DataError as error:
        yield Source(str(file), None, error.message)
        return
    for name, given in found:
        yield from _in_array(name, given, engine.info.each_input)


def _in_array(name: str, given: arrays.Given, wanted: Sequence[Input]) -> Iterator[Source]:
    try:
        # Of several inputs samples can only be counted where there are as many of each.
        values = np.asarray(given if len(wanted) == 1 else arrays.data_of(given, wanted))
    except DataError as error:
        yield Source(name, None, error.message)
        return
    if not arrays.are_many(given, wanted):
        yield Source(name, values)
        return
    if not len(values):
        yield Source(name, None, arrays.none_to_predict(wanted))
    for index in range(len(values)):
        yield Source(f"{name}[{index}]", np.asarray(values[index]))


def predict(
    engine: BundledEngine,
    found: Iterable[Source],
    top: int,
    batch_size: int,
    tell: Callable[[str], None],
    tally: Tally,
) -> Iterator[Answer]:
    """Answers in the order of what was found, `batch_size` of them at a time.

    What cannot be read is told and counted, and does not end the rest. Raises EngineError for an
    output that is not finite, of which every answer would be one of chance.
    """
    start = last = time.monotonic()
    readable = _readable(engine, found, tell, tally)
    while batch := list(islice(readable, batch_size)):
        said = engine.predict(np.stack([sample for _, sample in batch]))
        _refuse_infinite(said.outputs, engine.kind)
        tally.samples += len(batch)
        tally.seconds = time.monotonic() - start
        yield from answers.of(said, [name for name, _ in batch], top)
        if time.monotonic() - last > PROGRESS_SECONDS:
            last = time.monotonic()
            tell(f"{tally.samples:,} {engine.kind}")


def _refuse_infinite(outputs: NDArray[np.float32], kind: str) -> None:
    parts = [
        ~np.isfinite(each).reshape(len(each), -1).all(axis=1) for each in fields.parts(outputs)
    ]
    broken = int(np.count_nonzero(np.any(parts, axis=0)))
    if broken:
        raise EngineError(
            f"the outputs of {broken} of {len(outputs)} {kind} are not finite",
            "export an engine of another precision: pipeline export --engine NAME",
        )


def _readable(
    engine: BundledEngine, found: Iterable[Source], tell: Callable[[str], None], tally: Tally
) -> Iterator[tuple[str, NDArray[Any]]]:
    """The samples by name, as the network sees them; the others are told."""
    for source in found:
        try:
            if source.sample is None:
                raise DataError(source.fault)
            if isinstance(source.sample, Path):
                sample, changes = engine.read_file(source.sample)
                if FIRST_FRAME in changes:
                    tell(f"{source.name}: first frame of an animation")
            else:
                sample = engine.read(source.sample)
            yield source.name, sample
        except UserError as error:
            tally.faults += 1
            of = "" if source.name in error.message else f"{source.name}: "
            tell(f"left out: {of}{error.message}")
