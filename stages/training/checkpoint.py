"""The state of a training on disk, so that a killed one resumes as if nothing had happened."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from stages import progress
from stages.artifacts.archives import DAMAGED
from stages.artifacts.atomic import replacing
from stages.results.training import Epoch

Arrays = list[NDArray[Any]]
Score = tuple[float, float]
"""(validation accuracy, minus validation loss): the loss decides between equal accuracies, which
are common on a few hundred images."""


@dataclass
class State:
    """Progress of a training, besides its variables."""

    history: list[Epoch] = field(default_factory=list)
    best_score: Score = (float("-inf"), 0.0)
    best_epoch: int = 0
    best_weights: Arrays = field(default_factory=list)

    @property
    def epochs(self) -> int:
        """Epochs finished."""
        return len(self.history)

    def add(self, epoch: Epoch, score: Score, model: keras.Model) -> None:
        """Add an epoch, and keep its weights if it is the best so far."""
        self.history.append(epoch)
        if score > self.best_score:
            self.best_score, self.best_epoch = score, self.epochs
            self.best_weights = model.get_weights()


_STATE = TypeAdapter(tuple[list[Epoch], Score, int])
"""State without its arrays, as JSON in the first entry of the file."""


class Checkpoint:
    """Two files: the state after the last epoch and the one before it.

    The older one is for several workers, of which one may be killed before it has saved what
    the others have. Without a `file` nothing is kept.
    """

    def __init__(self, file: Path | None, model: keras.Model, optimizer: keras.Optimizer) -> None:
        self._file = file
        # Random seeds are among them, so that a resumed training draws on where it stopped.
        self._variables = [*model.variables, *optimizer.variables]

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
        text = _STATE.dump_json((state.history, state.best_score, state.best_epoch)).decode()
        values = [variable.numpy() for variable in self._variables]
        with replacing(latest) as draft:
            with draft.open("wb") as file:
                np.savez(file, np.array(text), *values, *state.best_weights)
            # A kill between the two renames leaves the older state, which `_files` finds as well.
            if latest.exists():
                latest.replace(before)

    def saved_epochs(self) -> list[int]:
        """Numbers of epochs after which a training can resume, the latest first."""
        return [len(_STATE.validate_json(str(arrays[0]))[0]) for arrays in self._read_all()]

    def restore(self, epochs: int) -> State:
        """Restore the variables as they were after `epochs` epochs, one of `saved_epochs`."""
        for arrays in self._read_all():
            history, score, best_epoch = _STATE.validate_json(str(arrays[0]))
            if len(history) == epochs:
                values = arrays[1 : 1 + len(self._variables)]
                for variable, value in zip(self._variables, values, strict=True):
                    variable.assign(value)
                return State(history, score, best_epoch, arrays[1 + len(self._variables) :])
        raise ValueError(f"no state after {epochs} epochs")

    def _read_all(self) -> list[Arrays]:
        """The arrays of every file that is whole."""
        return [arrays for file in self._files if file.is_file() and (arrays := _read(file))]


def _read(file: Path) -> Arrays:
    """The arrays in `file`, none if it is damaged: then the training starts afresh."""
    try:
        with file.open("rb") as raw, np.load(raw, allow_pickle=False) as arrays:
            return [arrays[name] for name in arrays.files]
    except DAMAGED as error:
        progress.report(f"what a killed run left in {file.name} is damaged, not used: {error}")
        return []
