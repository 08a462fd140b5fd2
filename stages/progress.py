"""Progress of a stage, through the standard `logging`, so that a notebook shows it too."""

from __future__ import annotations

import logging

LOGGER = logging.getLogger("stages")


def report(text: str, done: int | None = None, total: int | None = None) -> None:
    """Log `text` at level INFO; `done` of `total` steps, where known, travel as `record.step`."""
    LOGGER.info(text, extra={"step": None if done is None else (done, total)})


def warn(text: str) -> None:
    """Log `text` at level WARNING: what the user must know, though the stage goes on."""
    LOGGER.warning(text)
