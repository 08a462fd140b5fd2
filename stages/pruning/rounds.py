"""Prune a little, fine-tune, repeat: the loop of all methods, which resumes after a kill.

Every round starts from the file that the round before it left, whether or not the process that
wrote it is still the same, and from the seed. So a run that was killed and resumed ends with the
same weights as one that was not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import keras
from pydantic import TypeAdapter
from pydantic_core import to_json

from stages import progress
from stages.artifacts.atomic import replacing, sync
from stages.models import files
from stages.results.pruning import PruningRound
from stages.results.training import TrainingDetails

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Round:
    """What is removed from a model, and the epochs of the fine-tune that follows."""

    prune: Callable[[keras.Model], keras.Model]
    epochs: int


class FinishedRound(PruningRound):
    """What a round measured, with its fine-tune."""

    training: TrainingDetails = TrainingDetails()


Work = Callable[[Path, Round], tuple[keras.Model, FinishedRound]]
"""(model file, round) -> the model after pruning and fine-tune, and what was measured of it."""


class ResumeStore:
    """Finished work, in a folder that outlives a killed process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def read(self, name: str, kind: type[Kind], beside: Path | None = None) -> Kind | None:
        """What was written as `name`, of the type `kind`; None if it, or a file, has changed."""
        file = self._folder / f"{name}.json"
        if not file.is_file():
            return None
        digest, _, content = file.read_bytes().partition(b"\n")
        if digest != _digest(content, beside):
            progress.report(f"what a killed run left in {file.name} is damaged, not used")
            return None
        return TypeAdapter(kind).validate_json(content)

    def write(self, name: str, content: Any, beside: Path | None = None) -> None:
        """Write results as JSON, as a whole or not at all; they belong to the file `beside`."""
        written = to_json(content)
        if beside is not None:
            sync(beside)
        with replacing(self._folder / f"{name}.json") as draft:
            draft.write_bytes(_digest(written, beside) + b"\n" + written)

    def model(self, number: int) -> Path:
        """The model after round `number`; valid if the round's results, written later, exist."""
        return self._folder / f"round-{number}.keras"

    def checkpoint(self, file: Path) -> Path:
        """The state of the fine-tune in the round that starts from the model `file`."""
        return self._folder / f"after-{file.stem}.npz"


def _digest(content: bytes, beside: Path | None) -> bytes:
    """SHA-256, in hex, of `content` and of a file's: b"" where the file is gone."""
    digest = hashlib.sha256(content)
    if beside is not None:
        if not beside.is_file():
            return b""
        digest.update(beside.read_bytes())
    return digest.hexdigest().encode()


def run_rounds(
    first: Path,
    rounds: Sequence[Round],
    store: ResumeStore,
    work: Work,
    is_too_much: Callable[[FinishedRound], bool] = lambda finished: False,
) -> tuple[Path, list[FinishedRound]]:
    """Do the rounds that are not finished yet, the first of them on the model file `first`.

    The first round that `is_too_much` ends them and is not kept. Returns the file of the last
    kept model, `first` if there is none, and all rounds with `is_kept`.
    """
    file, done = first, list[FinishedRound]()
    for number, each in enumerate(rounds, start=1):
        finished = store.read(f"round-{number}", FinishedRound, store.model(number))
        if finished is None:
            model, finished = work(file, each)
            # The model first: its results, once they are there, say that
            # the model beside them is whole.
            files.save(model, store.model(number))
            store.write(f"round-{number}", finished, store.model(number))
        is_kept = not is_too_much(finished)
        done.append(finished.model_copy(update={"is_kept": is_kept}))
        if not is_kept:
            break
        file = store.model(number)
    return file, done
