"""Files for predict.py, where the network has one input."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from pipeline.bundle.programs.arrays import SUFFIXES, numbered, stored
from pipeline.bundle.programs.pictures import decoded


def samples(file: Path, inputs: list[dict[str, Any]]) -> Iterator[tuple[str, list[NDArray[Any]]]]:
    """What a file holds by name, as the network was trained to see it, before it is scaled."""
    if file.suffix.lower() in SUFFIXES:
        for key, values in stored(file, []).items():
            yield from numbered(f"{file}:{key}" if key else str(file), [values], inputs)
        return
    try:
        image = decoded(file, inputs[0])
    except Exception as error:  # each format's decoder has errors of its own
        sys.exit(f"{file} cannot be read: {error}")
    yield str(file), [image]
