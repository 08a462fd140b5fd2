"""Selected images of an array on disk, read only when they are indexed."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


class Images(Protocol):
    """Samples (N, ..., C) uint8 or float32, in memory or on disk; indexed, an array in memory."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W, C), or (N, L, C), (N, D, H, W, C)."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8 or float32."""

    def __len__(self) -> int:
        """N."""

    def __getitem__(self, where: Any) -> NDArray[Any]:
        """The images at an index, a slice or an array of indices."""


class LazyImages:
    """The images `rows` of `source`, in that order, without a copy."""

    def __init__(self, source: NDArray[Any], rows: Indices) -> None:
        self._source, self._rows = source, rows

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, ..., C)."""
        return (len(self._rows), *self._source.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of the source."""
        return self._source.dtype

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, where: Any) -> NDArray[Any]:
        return np.asarray(self._source[self._rows[where]])

    def take(self, indices: Indices) -> LazyImages:
        """Some of these."""
        return LazyImages(self._source, self._rows[indices])


def take(images: Images, indices: Indices) -> Images:
    """The images at `indices`: a copy if they are in memory, a LazyImages if on disk."""
    if isinstance(images, LazyImages):
        return images.take(indices)
    return LazyImages(images, indices) if isinstance(images, np.memmap) else images[indices]
