"""One measurement per machine: two engines that are timed at once slow each other."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from stages.artifacts.file_lock import waiting

FILE = "keras-trt-pipeline.measuring"
"""In the folder of temporary files, which processes of a machine share unless it is set otherwise
for them (`TMPDIR`)."""

WAITS = "waits until nothing else is timed on this machine"


@contextlib.contextmanager
def alone_on_machine(on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Wait until no other process of this machine is in such a block, and be the one in it.

    Calls `on_wait` first where there is one. Windows has no flock: there nothing waits.
    """
    with waiting(Path(tempfile.gettempdir(), FILE), on_wait=on_wait):
        yield
