"""Which GPUs have the arithmetic of a precision, by NVIDIA's compute capability."""

from __future__ import annotations

from collections.abc import Iterable

from stages.engines.registry import Precision
from stages.errors import EngineError

LEAST: dict[Precision, str] = {"bf16": "8.0", "fp8": "8.9"}
"""The first with it, as TensorRT-RTX 1.7 says where it refuses to build for others."""


def require(precision: Precision, found: Iterable[str], whose: str) -> None:
    """Raise EngineError where one of the compute capabilities `found`, as in "8.6", lacks it.

    `whose` says where they come from, as in "this GPU has".
    """
    least = LEAST.get(precision)
    short = [each for each in found if least and number(each) < number(least)]
    if short:
        raise EngineError(
            f"{precision} needs compute capability {least} or higher, {whose} {', '.join(short)}",
            f"leave {precision} out of build.precisions",
        )


def number(capability: str) -> tuple[int, ...]:
    """To compare with: "8.6" -> (8, 6)."""
    return tuple(map(int, capability.split(".")))
