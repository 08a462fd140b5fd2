"""The epochs of one training, from the first or from where a killed one was, to the last."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from stages import progress
from stages.datasets import DataSet
from stages.errors import ArtifactError, ModelError
from stages.training import devices, evidence, waiting
from stages.training.checkpoint import Checkpoint, State
from stages.training.evidence import Curves, Row
from stages.training.feed import images_per_epoch
from stages.training.loop import Loop, Validation
from stages.training.optimizers import Schedule
from stages.training.profile import Profile

Feed = Callable[..., tf.data.Dataset]
"""(epochs, context) -> stages.training.feed.batches of these epochs."""


@dataclass
class Course:
    """One training; `state` is how far it has come."""

    loop: Loop
    validation: Validation
    rate: Schedule
    saved: Checkpoint
    label: str
    state: State

    @classmethod
    def begun(
        cls, loop: Loop, validation: Validation, rate: Schedule, saved: Checkpoint, label: str
    ) -> Course:
        """From the last epoch that is saved on all workers, or from the start."""
        own = saved.saved_epochs()
        common = int(min(devices.of_all_workers(float(own[0] if own else 0))))
        if common and common not in own:
            raise ArtifactError(
                f"{label}: this worker has the states after epochs {own}, another only {common}",
                f"begin anew on all of them: pipeline run {label} --force",
            )
        if common:
            progress.report(f"goes on after epoch {common}")
        state = saved.restore(common) if common else State([], (-1.0, 0.0), 0, [])
        return cls(loop, validation, rate, saved, label, state)

    def finish(
        self, feed: Feed, dataset: DataSet, curves: Curves, profile: Profile | None = None
    ) -> list[Row]:
        """Train the epochs that are left, put the best weights into the model, return all rows.

        A `profile` is taken of the second of them, in which nothing is compiled any more, or of
        the only one.
        """
        training, state = self.loop.training, self.state
        waited = waiting.clock() if self.loop.strategy.num_replicas_in_sync == 1 else None
        iterator = _iterator(feed, range(state.epochs, training.epochs), waited)
        images = images_per_epoch(dataset, self.loop.strategy.num_replicas_in_sync)
        profiled = min(state.epochs + 2, training.epochs)
        while state.epochs < training.epochs and not self._has_lost_patience():
            is_profiled = profile is not None and state.epochs + 1 == profiled
            with profile.taken() if profile and is_profiled else contextlib.nullcontext():
                row = self._epoch(iterator, images)
            if waited is not None:
                row["input_wait_share"] = waiting.taken(waited) / row["seconds"]
            state.add(row, self.loop.model)
            self.saved.save(state)
            curves.add(row)
            evidence.report(row, training.epochs)
        self.loop.model.set_weights(state.best_weights)
        return state.history

    def _has_lost_patience(self) -> bool:
        patience, state = self.loop.training.patience, self.state
        return patience > 0 and state.epochs - state.best_epoch >= patience

    def _epoch(self, iterator: Any, images: int) -> Row:
        start = time.perf_counter()
        loss, accuracy = self.loop.run(iterator, images)
        seconds = time.perf_counter() - start
        number = self.state.epochs + 1
        if not np.isfinite(loss):
            raise ModelError(
                f"{self.label}: the loss is {loss} in epoch {number}",
                f"lower {self.label}.learning_rate",
            )
        found = [devices.of_all_workers(value) for value in self.validation.run()]
        val_accuracy, val_loss = (sum(each) / len(each) for each in found)
        steps = self.loop.steps(images)
        return {
            "epoch": number,
            "loss": loss,
            "accuracy": accuracy,
            "val_loss": val_loss,
            "val_accuracy": val_accuracy,
            "learning_rate": float(self.rate(number * steps - 1)),
            "seconds": seconds,
            "images_per_second": images / seconds,
            "step_ms": 1000 * seconds / steps,
        }


def _iterator(feed: Feed, epochs: range, waited: tf.Variable | None) -> Any:
    """Batches of `epochs`, on several devices each with its piece, where nothing is `waited`."""
    strategy = tf.distribute.get_strategy()
    if waited is not None:
        return iter(waiting.measured(feed(epochs=epochs), waited))
    return iter(
        strategy.distribute_datasets_from_function(
            lambda context: feed(epochs=epochs, context=context)
        )
    )
