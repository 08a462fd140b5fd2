"""The least time that arithmetic and memory allow, and what of a call does not depend on either."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

MS_PER_SECOND = 1000.0


class Floor(NamedTuple):
    """Milliseconds that a machine at its peak needs for the arithmetic, and for the memory."""

    arithmetic_ms: float
    memory_ms: float

    @property
    def ms(self) -> float:
        """The longer of the two: at best they overlap."""
        return max(self)

    @property
    def bound(self) -> Literal["arithmetic", "memory"]:
        """Which one that is."""
        return "arithmetic" if self.arithmetic_ms >= self.memory_ms else "memory"


def floor(
    multiply_adds: float,
    moved_bytes: float,
    multiply_adds_per_second: float,
    bytes_per_second: float,
) -> Floor:
    """The roofline of one call (Williams, Waterman and Patterson 2009, "Roofline: An Insightful
    Visual Performance Model for Multicore Architectures", the first figure, as a time).

    Raises ValueError for a peak that is not above zero.

    Example: 2e6 multiply-adds at 1e9 a second take 2 ms, 1e6 bytes at 1e9 a second 1 ms: 2 ms.
    """
    if not (multiply_adds_per_second > 0 and bytes_per_second > 0):
        raise ValueError(
            f"peaks {multiply_adds_per_second} and {bytes_per_second}, expected more than 0"
        )
    return Floor(
        MS_PER_SECOND * multiply_adds / multiply_adds_per_second,
        MS_PER_SECOND * moved_bytes / bytes_per_second,
    )


def fixed_ms(p50_ms: Mapping[int, float]) -> float | None:
    """Milliseconds of a call that do not grow with its batch, from medians by batch size.

    Where the line through the smallest and the largest batch meets a batch of no images, not
    below zero; None with fewer than two batch sizes.

    Example: 10 us for one image and 41 us for 32: 1 us an image, and 9 us in any case.
    """
    if len(p50_ms) < 2:
        return None
    small, large = min(p50_ms), max(p50_ms)
    per_image = (p50_ms[large] - p50_ms[small]) / (large - small)
    return max(0.0, p50_ms[small] - small * per_image)
