"""Prune a little, fine-tune, repeat: the loop of all methods, which goes on after a kill.

Every round begins from the file that the round before it left, whether or not the process that
wrote it is still the same, and from the seed. So a run that was killed and goes on ends with the
same weights as one that was not.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from stages.models import files

Notes = dict[str, Any]


@dataclass(frozen=True)
class Round:
    """What is taken out of a model, and how many passes of fine-tune follow."""

    prune: Callable[[keras.Model], keras.Model]
    epochs: int


Work = Callable[[Path, Round], "tuple[keras.Model, Notes]"]
"""(model file, round) -> the model after pruning and fine-tune, and what is worth noting."""


class Progress:
    """What has been done so far, in a folder that outlives a killed process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def read(self, name: str) -> Any | None:
        """What was written as `name`, or None."""
        file = self._folder / f"{name}.json"
        return json.loads(file.read_text()) if file.is_file() else None

    def write(self, name: str, content: Any) -> None:
        """Write JSON that is there as a whole or not at all."""
        draft = self._folder / f"{name}.json.new"
        draft.write_text(json.dumps(content))
        os.replace(draft, self._folder / f"{name}.json")

    def model(self, number: int) -> Path:
        """The model after round `number`; its notes are written after it, so they vouch for it."""
        return self._folder / f"round-{number}.keras"

    def checkpoint(self, file: Path) -> Path:
        """The state of the fine-tune in the round that begins with the model `file`."""
        return self._folder / f"after-{file.stem}.npz"


def run_rounds(
    first: Path,
    rounds: Sequence[Round],
    done: Progress,
    work: Work,
    is_too_much: Callable[[Notes], bool] = lambda notes: False,
) -> tuple[Path, list[Notes]]:
    """Do the rounds that are not done yet, the first of them on the model file `first`.

    Where `is_too_much(notes)` the rounds end, and the one before was the last that counts.
    Returns the file of the last model that counts, and the notes of all rounds with "is_kept".
    """
    file, everything = first, []
    for number, each in enumerate(rounds, start=1):
        notes = done.read(f"round-{number}")
        if notes is None:
            model, notes = work(file, each)
            files.save(model, done.model(number))
            done.write(f"round-{number}", notes)
        is_kept = not is_too_much(notes)
        everything.append({**notes, "is_kept": is_kept})
        if not is_kept:
            break
        file = done.model(number)
    return file, everything
