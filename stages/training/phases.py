"""Two phases of the first training: what is new learns before all the rest does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras

from stages import progress
from stages.errors import SettingsError
from stages.keras_graph.walk import told_to_infer
from stages.results.training import TrainingDetails
from stages.settings import Train
from stages.training.fit import TrainingRun, fit


def fit_in_phases(model: keras.Model, run: TrainingRun, training: Train) -> TrainingDetails:
    """`training.frozen_epochs` of what is not frozen in `model`, then its epochs of all layers.

    Each phase has a schedule, and a checkpoint and learning curves of its own; the history counts
    through. Raises SettingsError where nothing is frozen, and what `fit` raises.
    """
    if training.frozen_epochs == 0:
        return fit(model, run)
    if not any(_frozen(model)):
        raise SettingsError(
            f"train.frozen_epochs is {training.frozen_epochs}, but no layer is frozen",
            "freeze all but a new head: --set model.freeze_base=true; or set trainable = False on "
            "layers in model.source",
        )
    rate = training.frozen_learning_rate or training.learning_rate
    head = training.model_copy(update={"epochs": training.frozen_epochs, "learning_rate": rate})
    progress.report(f"{training.frozen_epochs} epochs with frozen layers, then all of them")
    first = fit(
        model,
        replace(
            run,
            settings=head,
            checkpoint=_beside(run.checkpoint),
            logs=_beside(run.logs),
            profile=None,
        ),
    )
    thaw(model)
    return _joined(first, fit(model, run))


def thaw(model: keras.Model) -> None:
    """Let all layers learn, but for batch normalisation that is called with training=False."""
    # Twice: TensorFlow's objects ignore a value that they have already, and then Keras does not
    # pass it on to the layers.
    model.trainable = False
    model.trainable = True
    inferring = told_to_infer(model)
    for layer in model.layers:
        if id(layer) in inferring and isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False


def _frozen(model: keras.Model) -> Iterator[Any]:
    """Layers with weights that do not learn, of nested models as well."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _frozen(layer)
        elif layer.weights and not layer.trainable:
            yield layer


def _beside(path: Path | None) -> Path | None:
    return path and path.with_name(f"{path.stem}-frozen{path.suffix}")


def _joined(first: TrainingDetails, second: TrainingDetails) -> TrainingDetails:
    epochs = (*first.history, *second.history)
    return second.model_copy(
        update={
            "history": tuple(
                each.model_copy(update={"epoch": number}) for number, each in enumerate(epochs, 1)
            ),
            "devices": second.devices or first.devices,
            "gpus": second.gpus or first.gpus,
            "precision": second.precision or first.precision,
        }
    )
