"""Graphs that `convert` could not write: `left_out.json`, which says why, file by file.

What one engine cannot do stops that engine alone: `build` gives the reason in its place.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stages import progress
from stages.errors import ConversionUnsupported

FILE = "left_out.json"


@contextmanager
def alone(folder: Path, name: str) -> Iterator[None]:
    """Writes down, and warns of, what the converter of the graph `name` does not know."""
    try:
        yield
    except ConversionUnsupported as error:
        progress.warn(f"{name} is left out: {error.message}")
        found = {**read(folder), name: error.message}
        (folder / FILE).write_text(json.dumps(found, indent=2) + "\n")


def read(folder: Path) -> dict[str, str]:
    """File -> the reason; none where every graph was written."""
    file = folder / FILE
    return dict(json.loads(file.read_text())) if file.is_file() else {}
