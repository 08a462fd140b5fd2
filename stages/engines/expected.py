"""What an engine may be fed with: wrong arguments of callers are checked once, here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.artifacts.signature import Signature
from stages.errors import EngineError

FEED = "use Signature.feed on the data"


@dataclass(frozen=True, slots=True)
class ExpectedInput:
    """One input of an engine file; `place` is its name behind the word "input" in messages."""

    place: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    batch_size: int
    may_hold_nan: bool

    def check(self, images: Any, file: Path) -> None:
        """Raise EngineError unless `images` is an array (N, *shape) as the engine takes it."""
        if images.dtype != self.dtype:
            raise EngineError(
                f"{file.name}: input{self.place} dtype {images.dtype}, expected {self.dtype}", FEED
            )
        if images.shape[1:] != self.shape or len(images) == 0:
            wanted = ", ".join(map(str, self.shape))
            raise EngineError(
                f"{file.name}: input{self.place} shape {images.shape}, expected (N, {wanted}) with "
                "N >= 1"
            )
        if self.batch_size and len(images) != self.batch_size:
            raise EngineError(
                f"{file.name}: a batch of {len(images)}, it takes {self.batch_size} and no other",
                "for any number of images: pipeline run all --set convert.batch_size=0",
            )
        if not images.flags.c_contiguous:
            raise EngineError(
                f"{file.name}: input{self.place} is not C-contiguous", "use numpy.ascontiguousarray"
            )
        # INT8 engines would round NaN to some number. Pixels cannot be NaN, which is the default.
        if self.may_hold_nan and not np.isfinite(images).all():
            raise EngineError(
                f"{file.name}: input{self.place} holds NaN or infinity, expected finite numbers",
                "look at how the images were normalised",
            )


def expected_inputs(signature: Signature) -> tuple[ExpectedInput, ...]:
    """The inputs of an engine with this signature, in its order."""
    return tuple(
        ExpectedInput(
            f" {own.input_name!r}" if signature.inputs else "",
            own.input_shape,
            np.dtype(own.dtype),
            signature.batch_size,
            own.dtype == "float32",
        )
        for own in signature.each_input
    )


def check_several(images: Any, expected: Sequence[ExpectedInput], file: Path) -> None:
    """Raise EngineError unless `images` is a list of an array for each input, with as many rows."""
    if not isinstance(images, list) or len(images) != len(expected):
        found = f"{len(images)} arrays" if isinstance(images, list) else type(images).__name__
        wanted = ",".join(each.place for each in expected)
        raise EngineError(f"{file.name}: got {found}, expected a list of arrays for{wanted}", FEED)
    for array, each in zip(images, expected, strict=True):
        each.check(array, file)
    if len({len(array) for array in images}) > 1:
        pairs = zip(images, expected, strict=True)
        counts = ", ".join(f"{len(array)} of{each.place}" for array, each in pairs)
        raise EngineError(f"{file.name}: a batch of {counts}, expected as many of each", FEED)
