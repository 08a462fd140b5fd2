"""The epochs of one training, from the first or from where a killed run stopped, to the last."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from keras.optimizers.schedules import LearningRateSchedule

from stages import progress
from stages.datasets.base import DataSet
from stages.errors import ArtifactError, LossNotFinite
from stages.results.training import Epoch
from stages.training import devices, evidence, waiting
from stages.training.checkpoint import Checkpoint, Score, State
from stages.training.evidence import Curves
from stages.training.feed import images_per_epoch
from stages.training.loop import Loop, Validation
from stages.training.profile import profiled

Feed = Callable[..., tf.data.Dataset]
"""(epochs, context) -> stages.training.feed.batches of these epochs."""


@dataclass
class Trainer:
    """One training; `state` is its progress."""

    loop: Loop
    validation: Validation
    rate: LearningRateSchedule
    checkpoint: Checkpoint
    label: str
    state: State

    @classmethod
    def resume(
        cls,
        loop: Loop,
        validation: Validation,
        rate: LearningRateSchedule,
        checkpoint: Checkpoint,
        label: str,
    ) -> Trainer:
        """Resume after the last epoch that all workers have saved, or start afresh.

        Raises ArtifactError for a worker that lacks an epoch which another one resumes from.
        """
        own = checkpoint.saved_epochs()
        common = int(min(devices.of_all_workers(float(own[0] if own else 0))))
        if common and common not in own:
            raise ArtifactError(
                f"{label}: this worker has the states after epochs {own}, another only {common}",
                f"start afresh on all of them: pipeline run {label} --force",
            )
        if common:
            progress.report(f"resumes after epoch {common}")
        state = checkpoint.restore(common) if common else State()
        return cls(loop, validation, rate, checkpoint, label, state)

    def finish(
        self,
        feed: Feed,
        dataset: DataSet,
        curves: Curves,
        profile: Path | None = None,
        is_told: bool = True,
    ) -> list[Epoch]:
        """Train the remaining epochs, load the best weights into the model, return all epochs.

        With `profile`, the second of them, in which nothing is compiled any more, or the only
        one is profiled into that folder. Each is reported as progress, if it `is_told`.
        """
        training, state = self.loop.training, self.state
        waited = waiting.clock() if self.loop.strategy.num_replicas_in_sync == 1 else None
        iterator = _iterator(feed, range(state.epochs, training.epochs), waited)
        images = images_per_epoch(dataset, self.loop.strategy.num_replicas_in_sync)
        profiled_epoch = min(state.epochs + 2, training.epochs)
        while state.epochs < training.epochs and not self._has_lost_patience():
            is_profiled = profile is not None and state.epochs + 1 == profiled_epoch
            with profiled(profile) if profile and is_profiled else contextlib.nullcontext():
                epoch, score = self._epoch(iterator, images, waited)
            state.add(epoch, score, self.loop.model)
            # Saved before it is shown: a kill in between costs a line of a log and not an epoch.
            self.checkpoint.save(state)
            curves.add(epoch)
            if is_told:
                evidence.report(epoch, training.epochs, self.validation.words)
        self.loop.model.set_weights(state.best_weights)
        return state.history

    def _has_lost_patience(self) -> bool:
        patience, state = self.loop.training.patience, self.state
        return patience > 0 and state.epochs - state.best_epoch >= patience

    def _epoch(self, iterator: Any, images: int, waited: tf.Variable | None) -> tuple[Epoch, Score]:
        start = time.perf_counter()
        loss, accuracy = self.loop.run(iterator, images)
        seconds = time.perf_counter() - start
        number = self.state.epochs + 1
        if not np.isfinite(loss):
            raise LossNotFinite(
                f"{self.label}: the loss is {loss} in epoch {number}",
                f"lower {self.label}.learning_rate",
            )
        # The same numbers on all workers: they must agree on the best epoch, and when to stop.
        found = [devices.of_all_workers(value) for value in self.validation.run()]
        val_accuracy, val_loss = (sum(each) / len(each) for each in found)
        steps = self.loop.steps(images)
        epoch = Epoch(
            epoch=number,
            loss=loss,
            accuracy=accuracy,
            val_loss=val_loss,
            val_accuracy=val_accuracy,
            learning_rate=float(self.rate(number * steps - 1)),
            seconds=seconds,
            images_per_second=images / seconds,
            step_ms=1000 * seconds / steps,
            input_wait_share=None if waited is None else waiting.taken(waited) / seconds,
        )
        return epoch, (val_accuracy, -val_loss)


def _iterator(feed: Feed, epochs: range, waited: tf.Variable | None) -> Any:
    """Batches of `epochs`, distributed over the devices unless waiting is measured."""
    if waited is not None:
        return iter(waiting.measured(feed(epochs=epochs), waited))
    return iter(
        tf.distribute.get_strategy().distribute_datasets_from_function(
            lambda context: feed(epochs=epochs, context=context)
        )
    )
