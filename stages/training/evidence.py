"""What a training tells of itself: progress, learning curves, TensorBoard."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import tensorflow as tf

from stages import progress

Row = dict[str, Any]
"""One epoch: epoch (from 1), loss and accuracy on the training batches as they were seen,
val_loss and val_accuracy after it, learning_rate of its last step, seconds for its steps
without validation, images_per_second and step_ms (milliseconds) in these, and
input_wait_share, the share of them in which the step waited for images (one device)."""


class Curves:
    """Writes rows to TensorBoard event files in `folder`; None writes nothing."""

    def __init__(self, folder: Path | None, is_new: bool) -> None:
        self._writer = None
        if folder is not None:
            if is_new:
                shutil.rmtree(folder, ignore_errors=True)
            self._writer = tf.summary.create_file_writer(str(folder))

    def add(self, row: Row) -> None:
        """One epoch, at once on disk."""
        if self._writer is None:
            return
        with self._writer.as_default(step=row["epoch"]):
            for name, value in row.items():
                if name != "epoch":
                    tf.summary.scalar(name, value)
        self._writer.flush()


def report(row: Row, epochs: int) -> None:
    """Tell the user."""
    text = f"loss {row['loss']:.3f}, validation accuracy {row['val_accuracy']:.2%}"
    progress.report(text, row["epoch"], epochs)
