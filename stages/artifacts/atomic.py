"""Files that are replaced whole: whoever reads one sees the old file or the new one.

That holds after a power failure as well: a rename may reach the disk before the data it is about,
unless the data were written through first. https://www.sqlite.org/atomiccommit.html tells the same.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path

NO_SYNC = (errno.EINVAL, errno.ENOTSUP)
"""What a file system answers that cannot do it, for folders most often."""


@contextlib.contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """A path beside `file` to write to, which takes its place if the block ends well.

    Its name holds the process number, so that two processes never write to the same draft, and
    ends as that of `file` does: some writers choose a format by it. Raises OSError.
    """
    draft = file.with_name(f".{os.getpid()}-{file.name}")
    try:
        yield draft
        sync(draft)
        draft.replace(file)
        sync(file.parent)
    finally:
        draft.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Return once a file's content, or the names in a folder, are on the disk. Raises OSError.

    Where a system or a network file system cannot do that, nothing happens.
    """
    if sys.platform == "win32":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise
    finally:
        os.close(descriptor)


def sync_all(folder: Path) -> None:
    """`sync` every file and folder below `folder`, and `folder` itself."""
    for parent, _, names in os.walk(folder, topdown=False):
        for file in (Path(parent, name) for name in names):
            if file.is_file():
                sync(file)
        sync(Path(parent))
