"""A TensorBoard profile: where the time of a training step goes."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

from stages import progress

SECONDS = 3.0
"""Long enough for a few steps of a large network, short enough for a profile that opens."""


@contextlib.contextmanager
def profiled(folder: Path) -> Iterator[None]:
    """Profile the first SECONDS of the block into `folder`, for TensorBoard to show."""
    stopped, lock = threading.Event(), threading.Lock()

    def stop() -> None:
        with lock:
            if not stopped.is_set():
                stopped.set()
                tf.profiler.experimental.stop()

    tf.profiler.experimental.start(str(folder))
    timer = threading.Timer(SECONDS, stop)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        stop()
    progress.report(f"profile in {folder}; to see it: tensorboard --logdir {folder}")
