"""Some images of an array that lies on disk: read when they are asked for, and not before."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


class Images(Protocol):
    """Images uint8 (N, H, W, C), in memory or on disk. Indexing gives an array in memory."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W, C)."""

    def __len__(self) -> int:
        """How many."""

    def __getitem__(self, where: Any) -> NDArray[np.uint8]:
        """The images at an index, a slice or an array of indices."""


class Rows:
    """The images `rows` of `source`, in that order, as if they were copied."""

    def __init__(self, source: NDArray[np.uint8], rows: Indices) -> None:
        self._source, self._rows = source, rows

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W, C)."""
        return (len(self._rows), *self._source.shape[1:])

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, where: Any) -> NDArray[np.uint8]:
        return np.asarray(self._source[self._rows[where]], np.uint8)

    def take(self, indices: Indices) -> Rows:
        """Some of these."""
        return Rows(self._source, self._rows[indices])


def take(images: Images, indices: Indices) -> Images:
    """The images at `indices`: copied where they are in memory, only noted where on disk."""
    if isinstance(images, Rows):
        return images.take(indices)
    return Rows(images, indices) if isinstance(images, np.memmap) else images[indices]
