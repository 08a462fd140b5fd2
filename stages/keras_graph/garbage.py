"""Copies of large models that nothing refers to any more.

Keras models and TensorFlow's graphs are in reference cycles, and Python's collector counts
objects, which may be of any size: without this, four copies of all weights wait for it where one is
in use.
"""

from __future__ import annotations

import ctypes
import gc
import sys

LARGE = 2**22
"""Parameters of a model that is worth a collection, which takes a third of a second: 16 MB."""


def free_copies(parameters: int) -> None:
    """Free what is left of models and graphs of so many parameters, unless they are small."""
    if parameters < LARGE:
        return
    gc.collect()
    if sys.platform == "linux":
        # glibc keeps what was freed below something that is in use; other C libraries do not.
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
