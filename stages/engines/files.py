"""Which files an engine consists of."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from stages.engines.tensorrt import weights


def of_engine(file: str, there: Collection[str]) -> list[str]:
    """The engine `file` and those of the files `there` that it does not run without.

    TensorRT's engines have one beside them that says what they were built for, and some their
    weights.
    """
    parts = (file, f"{file}.json", weights.beside(Path(file)).name)
    return [name for name in parts if name in there]
