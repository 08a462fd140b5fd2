"""Files that are replaced whole: whoever reads one sees the old file or the new one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """A path beside `file` to write to, which takes its place if the block ends well.

    Its name holds the process number, so that two processes never write to the same draft, and
    ends as that of `file` does: some writers choose a format by it. Raises OSError.
    """
    draft = file.with_name(f".{os.getpid()}-{file.name}")
    try:
        yield draft
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)
