"""The one training loop: first training, fine-tune after pruning, quantization-aware fine-tune."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from stages.artifacts.signature import Signature
from stages.datasets import DataSet
from stages.errors import SettingsError
from stages.settings import Data, Training
from stages.training import balance, devices, gpu_usage, optimizers
from stages.training.augmentation import UNCHANGED
from stages.training.checkpoint import Checkpoint
from stages.training.evidence import Curves
from stages.training.feed import batches, validation_batches
from stages.training.loop import Loop, Objective, Validation
from stages.training.precision import computing_in, scaled
from stages.training.profile import Profile
from stages.training.trainer import Course

__all__ = ["Teacher", "batches", "fit", "prepare", "reset", "returns_probabilities"]


def reset(seed: int) -> None:
    """Forget what earlier stages of this process left in Keras, and seed every generator.

    To be called before a model is made or loaded: a Dropout layer takes its seed then.
    """
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)


def prepare(training: Training) -> None:
    """Get ready for a stage that trains as `training` says, before it makes or loads a model.

    Raises SettingsError or EngineError for devices that are not to be had.
    """
    devices.strategy(training.devices)
    if training.deterministic:
        tf.config.experimental.enable_op_determinism()
    reset(training.seed)


def returns_probabilities(model: keras.Model) -> bool:
    """Whether `model` ends in a softmax, so that its outputs are no logits."""
    last = model.layers[-1]
    return (
        isinstance(last, keras.layers.Softmax)
        or getattr(last, "activation", None) is keras.activations.softmax
    )


@dataclass(frozen=True)
class Teacher:
    """A model whose answers are learned from, and the share that they have in the targets.

    Hinton et al., 'Distilling the Knowledge in a Neural Network', section 2, with
    temperature 1: cross-entropy with a mixture of targets is the same mixture of
    cross-entropies.
    """

    model: keras.Model
    share: float

    def mix(self, images: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Targets (N, classes) for `images`, partly replaced by the teacher's probabilities."""
        answers = self.model(images, training=False)
        if not returns_probabilities(self.model):
            answers = tf.nn.softmax(answers)
        return (1 - self.share) * targets + self.share * answers


def fit(
    model: keras.Model,
    dataset: DataSet,
    signature: Signature,
    training: Training,
    *,
    label: str,
    data: Data = UNCHANGED,
    teacher: Teacher | None = None,
    precision: str = "float32",
    rebuild: Callable[[], keras.Model] | None = None,
    checkpoint: Path | None = None,
    logs: Path | None = None,
    is_profiled: bool = False,
) -> dict[str, Any]:
    """Train `model` in place on the training split, and return what is worth recording of it:

    history    one evidence.Row for each epoch
    devices    the devices that it ran on
    gpus       how busy GPUs were, where there are some: see gpu_usage.summary
    profile    with `is_profiled`, the costliest operations: see profile.costliest

    The weights of the best epoch on the validation split are kept: the most accurate, and of
    equals, which are common on a few hundred images, the one with the lower loss. `data` says how
    images are changed for training, `label` names the settings section in messages. After every
    epoch the state goes to the file `checkpoint`, and a training that finds one there goes on from
    it; learning curves go to `logs`.

    Where a strategy needs variables of its own, a copy is trained: what `rebuild` returns, with
    the weights of `model`, or a clone of it.
    Raises ModelError when the loss is no number any more, SettingsError for devices and settings
    that do not fit together, StageCrashed when another worker is gone.
    """
    if training.epochs == 0:
        return {"history": [], "devices": [], "gpus": []}
    keras.utils.set_random_seed(training.seed)
    strategy = devices.strategy(training.devices)
    with strategy.scope(), devices.explaining_lost_workers():
        _check(training, label)
        trainee, taught_by = model, teacher
        if tf.distribute.has_strategy():
            trainee = _copied(model, rebuild)
            taught_by = teacher and replace(teacher, model=_copied(teacher.model))
        with computing_in(precision, trainee):
            objective = _objective(trainee, dataset, training, taught_by)
            course = _course(
                trainee, dataset, signature, training, objective, precision, checkpoint, label
            )
            feed = partial(batches, dataset, signature, training, data)
            curves = Curves(logs, is_new=not course.state.epochs)
            profile = Profile(logs) if is_profiled else None
            found: dict[str, Any] = {"gpus": []}
            with gpu_usage.sampled(found["gpus"]):
                found["history"] = course.finish(feed, dataset, curves, profile)
        model.set_weights(trainee.get_weights())
        tables = {"profile": profile.table} if profile else {}
        return {**found, **tables, "devices": devices.describe()}


def _check(training: Training, label: str) -> None:
    devices.check_batch(training.batch_size, label)
    count = tf.distribute.get_strategy().num_replicas_in_sync
    if training.xla and count > 1:
        raise SettingsError(
            f"{label}.xla compiles for one device, {label}.devices names {count}",
            f"leave one of the two out: --set {label}.xla=false",
        )


def _copied(model: keras.Model, rebuild: Callable[[], keras.Model] | None = None) -> keras.Model:
    """The same model with variables of the current strategy."""
    copy = rebuild() if rebuild else keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    for own, other in zip(copy.trainable_variables, model.trainable_variables, strict=True):
        own.constraint = other.constraint
    return copy


def _objective(
    model: keras.Model, dataset: DataSet, training: Training, teacher: Teacher | None
) -> Objective:
    return Objective(
        from_logits=not returns_probabilities(model),
        class_weights=balance.weights(dataset, training.class_weights),
        l1=training.l1,
        l2=training.l2,
        teach=teacher.mix if teacher and teacher.share else None,
    )


def _course(
    model: keras.Model,
    dataset: DataSet,
    signature: Signature,
    training: Training,
    objective: Objective,
    precision: str,
    checkpoint: Path | None,
    label: str,
) -> Course:
    rate = optimizers.schedule(training, len(dataset.train))
    optimizer = optimizers.make(training, rate, model.trainable_variables)
    if precision == "float16":
        optimizer = scaled(optimizer, model.trainable_variables)
    loop = Loop(model, optimizer, objective, training)
    checked = validation_batches(dataset, signature, training)
    validation = Validation(model, checked, objective.from_logits)
    return Course.begun(loop, validation, rate, Checkpoint(checkpoint, model, optimizer), label)
