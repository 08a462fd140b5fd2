"""A log file that is shown while it is written."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

POLL_SECONDS = 0.2
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""What a terminal would obey."""


@contextmanager
def followed(log: Path, show: Callable[[str], None]) -> Iterator[None]:
    """Empty `log`, and let `show` have what is written to it, as it comes, in another thread."""
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_bytes(b"")
    done = threading.Event()

    def follow() -> None:
        with log.open(encoding="utf-8", errors="replace") as stream:
            while True:
                is_last = done.is_set()
                if text := stream.read():
                    show(CONTROL.sub("", text))
                if is_last:
                    return
                done.wait(POLL_SECONDS)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
