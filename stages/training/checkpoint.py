"""The state of a training on disk, so that a killed one goes on as if nothing had happened."""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from stages import progress

Arrays = list[NDArray[Any]]


@dataclass
class State:
    """What has come out of the epochs so far, besides the variables."""

    history: list[dict[str, Any]]
    best_score: tuple[float, float]
    best_epoch: int
    best_weights: Arrays

    @property
    def epochs(self) -> int:
        """How many are done."""
        return len(self.history)

    def add(self, row: dict[str, Any], model: keras.Model) -> None:
        """Note an epoch, and its weights if it is the best so far.

        Accuracy decides; among equals, which are common on a few hundred images, the lower loss.
        """
        self.history.append(row)
        score = (row["val_accuracy"], -row["val_loss"])
        if score > self.best_score:
            self.best_score, self.best_epoch = score, self.epochs
            self.best_weights = model.get_weights()


class Checkpoint:
    """Two files: the state after the last epoch and the one before it.

    The older one is for several workers, of which one may be killed before it has saved what
    the others have. Without a `file` nothing is kept.
    """

    def __init__(self, file: Path | None, model: keras.Model, optimizer: keras.Optimizer) -> None:
        self._file = file
        self._variables = [*model.variables, *optimizer.variables]
        self._weights = len(model.get_weights())

    @property
    def _files(self) -> list[Path]:
        if self._file is None:
            return []
        return [self._file, self._file.with_name(f"{self._file.name}.before")]

    def save(self, state: State) -> None:
        """Keep the variables (weights, moments, steps, random seeds) and `state`."""
        if self._file is None:
            return
        latest, before = self._files
        latest.parent.mkdir(parents=True, exist_ok=True)
        draft = latest.with_name(f"{latest.name}.new")
        notes = json.dumps([state.history, state.best_score, state.best_epoch])
        values = [variable.numpy() for variable in self._variables]
        with draft.open("wb") as file:
            np.savez(file, np.array(notes), *values, *state.best_weights)
        if latest.exists():
            os.replace(latest, before)
        os.replace(draft, latest)

    def saved_epochs(self) -> list[int]:
        """After which epochs there is a state to go on from, the latest first."""
        found = [_read(file) for file in self._files if file.is_file()]
        return [len(json.loads(str(arrays[0]))[0]) for arrays in found if arrays]

    def restore(self, epochs: int) -> State:
        """Take the variables back to where they were after `epochs` epochs, one of those saved."""
        for arrays in filter(None, map(_read, filter(Path.is_file, self._files))):
            history, score, best_epoch = json.loads(str(arrays[0]))
            if len(history) == epochs:
                values = arrays[1 : 1 + len(self._variables)]
                for variable, value in zip(self._variables, values, strict=True):
                    variable.assign(value)
                best = arrays[1 + len(self._variables) :]
                return State(history, (score[0], score[1]), best_epoch, best)
        raise ValueError(f"no state after {epochs} epochs")


def _read(file: Path) -> Arrays:
    """The arrays in `file`, none if it is damaged: then the training begins anew."""
    try:
        with file.open("rb") as raw, np.load(raw, allow_pickle=False) as arrays:
            return [arrays[name] for name in arrays.files]
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        progress.report(f"what a killed run left in {file.name} is damaged, not used: {error}")
        return []
