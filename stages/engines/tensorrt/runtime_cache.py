"""What TensorRT-RTX compiled for this GPU, in a file beside the engine, for the next opening.

Without it, or where it is damaged or of another GPU, driver or version, everything is compiled
again: TensorRT-RTX itself refuses one that does not fit, and the digest one that is damaged.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import Any

from stages.artifacts.atomic import replacing

DIGEST_BYTES = hashlib.sha256().digest_size


class RuntimeCache:
    """The trt.IRuntimeCache of all contexts of the engine in the file `engine`."""

    def __init__(self, engine: Path) -> None:
        self._file = engine.with_name(f"{engine.name}.kernels")
        self._cache: Any = None
        self._is_taken = False

    def use_in(self, config: Any) -> None:
        """Let the contexts of a trt.IRuntimeConfig take compiled kernels from here, and add."""
        if self._cache is None:
            self._cache = config.create_runtime_cache()
            kept = read(self._file)
            self._is_taken = kept is not None and bool(self._cache.deserialize(kept))
        config.set_runtime_cache(self._cache)

    def keep(self) -> None:
        """Write the file where there was none that fits.

        One that fits stays as it is, also where it lacks kernels: it is part of an artifact.
        """
        if self._cache is None or self._is_taken:
            return
        content = self._cache.serialize()
        if content is not None:
            write(self._file, bytes(content))


def write(file: Path, content: bytes) -> None:
    """Write `content` and its digest; a folder that cannot be written to is no error."""
    with contextlib.suppress(OSError), replacing(file) as draft:
        draft.write_bytes(hashlib.sha256(content).digest() + content)


def read(file: Path) -> bytes | None:
    """What `write` wrote; None where there is nothing, or something else."""
    try:
        whole = file.read_bytes()
    except OSError:
        return None
    digest, content = whole[:DIGEST_BYTES], whole[DIGEST_BYTES:]
    return content if digest == hashlib.sha256(content).digest() else None
