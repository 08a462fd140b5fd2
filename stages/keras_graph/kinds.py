"""What kind of layer one is, by what it computes: a subclass may compute anything."""

from __future__ import annotations

import functools
from typing import Any

COMPUTING = (
    "__call__",
    "build",
    "call",
    "convolution_op",
    "kernel",
    "transform_images",
    "_merge_function",
)
"""Attributes of Keras' layers that decide what these compute."""


def is_kind(operation: Any, kinds: type | tuple[type, ...]) -> bool:
    """`isinstance`, but not of a subclass from elsewhere that computes in a way of its own, as a
    convolution with standardised weights or a Dropout that acts at inference."""
    kind: Any = type(operation)
    return issubclass(kind, kinds) and _computes_as_keras(kind)


@functools.cache
def _computes_as_keras(kind: Any) -> bool:
    own = [each for each in kind.__mro__ if each.__module__.partition(".")[0] != "keras"]
    return not any(name in vars(each) for each in own for name in COMPUTING)
