"""What a training reports while it runs: progress, and learning curves in TensorBoard."""

from __future__ import annotations

import shutil
from pathlib import Path

import tensorflow as tf

from stages import progress
from stages.results.training import Epoch


class Curves:
    """Writes epochs to TensorBoard event files in `folder`; None writes nothing."""

    def __init__(self, folder: Path | None, is_new: bool) -> None:
        self._writer = None
        if folder is not None:
            if is_new:
                shutil.rmtree(folder, ignore_errors=True)
            self._writer = tf.summary.create_file_writer(str(folder))

    def add(self, epoch: Epoch) -> None:
        """Write one epoch to disk at once."""
        if self._writer is None:
            return
        with self._writer.as_default(step=epoch.epoch):
            for name, value in epoch.model_dump(exclude={"epoch"}, exclude_none=True).items():
                tf.summary.scalar(name, value)
        self._writer.flush()


def report(epoch: Epoch, epochs: int, words: str = "accuracy") -> None:
    """Show the user one of `epochs` epochs; `words` call what its accuracy is."""
    text = f"loss {epoch.loss:.3f}, validation {words} {epoch.val_accuracy:.2%}"
    progress.report(text, epoch.epoch, epochs)
