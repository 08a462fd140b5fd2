"""The one training loop: first training, fine-tune after pruning, quantization-aware fine-tune."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from stages.artifacts.signature import Signature
from stages.datasets.base import DataSet
from stages.errors import SettingsError
from stages.keras_graph.fold import fold
from stages.keras_graph.walk import copy_weights
from stages.results.training import GpuUsage, TrainingDetails
from stages.settings import Data, Training
from stages.tasks import base as tasks
from stages.training import answers, balance, devices, gpu_usage, optimizers, standard_head
from stages.training.augmentation import UNCHANGED
from stages.training.checkpoint import Checkpoint
from stages.training.evidence import Curves
from stages.training.feed import batches, validation_batches
from stages.training.fused_norm import fused_norms
from stages.training.imitation import Imitation
from stages.training.inferring import inferring
from stages.training.loop import Judge, Loop, Objective, Validation
from stages.training.losses import Question, Questions, ask, imitated, standard
from stages.training.precision import chosen, computing_in, scaled
from stages.training.trainer import Trainer

__all__ = ["Teacher", "TrainingRun", "batches", "fit", "prepare", "reset"]


def reset(seed: int) -> None:
    """Forget what earlier stages of this process left in Keras, and seed every generator.

    Call it before a model is made or loaded: a Dropout layer takes its seed then.
    """
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)


def prepare(training: Training) -> None:
    """Get ready for a stage that trains as `training` says, before it makes or loads a model.

    Raises SettingsError or EngineError for devices that are not available.
    """
    devices.strategy(training.devices)
    if training.deterministic:
        tf.config.experimental.enable_op_determinism()
    reset(training.seed)


@dataclass(frozen=True)
class Teacher:
    """A model to distil from, the share of its answers, and at what temperature they are given.

    Hinton et al., 'Distilling the Knowledge in a Neural Network', section 2. It returns what the
    student returns.
    """

    model: keras.Model
    share: float
    temperature: float = 1.0
    map_weight: float = 0.0
    """Weight of what the student is to learn from its attention maps: see imitation.py."""

    def losses(
        self, question: Question, answers: tf.Tensor, targets: tf.Tensor, outputs: tf.Tensor
    ) -> tf.Tensor:
        """Loss of each answer, (N,) or (N, H, W), of `outputs` with targets and what the teacher
        answers.

        The part of the teacher is multiplied by the squared temperature, which its gradient is
        divided by. Numbers have no temperature. What is not judged by itself has no other lesson.
        """
        if question.task == "raw":
            return imitated(answers, outputs)
        if self.temperature == 1 or question.task == "regression":
            # The same: cross-entropy with a mixture of targets is the mixture of cross-entropies,
            # and the squared distance from a mean has the gradient of the mean of the squares.
            return question.losses(self.mix(question, answers, targets), outputs)
        taught = question.logits(answers) / self.temperature
        given, kind = question.logits(outputs) / self.temperature, question.kind
        soft = kind.losses(kind.soften(taught), given, True)
        hard = question.losses(targets, outputs)
        return (1 - self.share) * hard + self.share * self.temperature**2 * soft

    def mix(self, question: Question, answers: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Targets (N, ...), partly replaced by what the teacher answers."""
        mixed = (1 - self.share) * targets + self.share * question.taught(answers)
        if question.task != "segmentation":
            return mixed
        # Pixels that are not judged by the labels are not taught either: -1, or no class at all.
        judged = targets >= 0 if question.width == 1 else tf.reduce_sum(targets, -1, True) > 0
        return tf.where(judged, mixed, targets)


@dataclass(frozen=True)
class TrainingRun:
    """Everything that one training of a model needs.

    `label` is the settings section in messages, `data` says how training images are augmented.
    After every epoch the state goes to the file `checkpoint`, and a training that finds one there
    resumes from it; learning curves go to the folder `logs`, a TensorBoard profile to `profile`.
    Where a strategy needs variables of its own, a copy is trained: what `rebuild` returns, with
    the weights of the model, or a clone of it. `is_standard` is of a model that returns numbers in
    standard deviations from the mean of the training targets.
    """

    dataset: DataSet
    signature: Signature
    settings: Training
    label: str
    data: Data = UNCHANGED
    teacher: Teacher | None = None
    is_standard: bool = False
    precision: str = "float32"
    rebuild: Callable[[], keras.Model] | None = None
    checkpoint: Path | None = None
    logs: Path | None = None
    profile: Path | None = None
    is_told: bool = True
    """Whether every epoch is reported as progress."""


def fit(model: keras.Model, run: TrainingRun) -> TrainingDetails:
    """Train `model` in place on the training split.

    The weights of the best epoch on the validation split are kept: the most accurate, and of
    equals, which are common on a few hundred images, the one with the lower loss.
    Raises LossNotFinite where the loss is no number, SettingsError for devices and settings
    that do not fit together, StageCrashed when another worker is gone.
    """
    if run.settings.epochs == 0:
        return TrainingDetails()
    if run.signature.task != "regression" or run.is_standard or standard_head.find(model) is None:
        return _fit(model, run)
    scaling = standard(run.dataset.train.labels)
    standard_head.unfold(model, *scaling)
    try:
        return _fit(model, replace(run, is_standard=True))
    finally:
        standard_head.fold(model, *scaling)


def _fit(model: keras.Model, run: TrainingRun) -> TrainingDetails:
    # Again, after `prepare`: what making or pruning the model drew must not change the training.
    keras.utils.set_random_seed(run.settings.seed)
    strategy = devices.strategy(run.settings.devices)
    with strategy.scope(), devices.explaining_lost_workers():
        _check(run.settings, run.label)
        trainee, teacher = model, run.teacher
        if tf.distribute.has_strategy():
            trainee = _copied(model, run.rebuild)
            teacher = teacher and replace(teacher, model=_copied(teacher.model))
        # Around the trainer: the policy counts when a function is traced, and
        # is gone when the model is saved.
        precision = chosen(run.precision, run.settings.xla)
        known = imitation = None
        if teacher and teacher.map_weight:
            imitation = Imitation.of(trainee, teacher.model, teacher.map_weight)
        if teacher and teacher.share and imitation is None:
            # It answers sooner without batch normalisation, and below in the student's precision.
            teacher = replace(teacher, model=fold(teacher.model))
            known = answers.known(teacher.model, run.dataset, run.signature, run.settings, run.data)
        with contextlib.ExitStack() as changed:
            changed.enter_context(computing_in(precision, trainee))
            changed.enter_context(fused_norms(trainee))
            changed.enter_context(inferring(trainee))
            if teacher and teacher.share and imitation is None:
                changed.enter_context(computing_in(precision, teacher.model))
            run = replace(run, teacher=teacher, precision=precision)
            trainer = _trainer(trainee, run, imitation)
            feed = partial(
                batches, run.dataset, run.signature, run.settings, run.data, answers=known
            )
            curves = Curves(run.logs, is_new=not trainer.state.epochs)
            gpus: list[GpuUsage] = []
            with gpu_usage.sampled(gpus):
                history = trainer.finish(feed, run.dataset, curves, run.profile, run.is_told)
        model.set_weights(trainee.get_weights())
        return TrainingDetails(
            history=tuple(history),
            devices=tuple(devices.describe()),
            gpus=tuple(gpus),
            precision=precision,
            profile=str(run.profile) if run.profile else None,
        )


def _refuse_unlearned(run: TrainingRun) -> None:
    """Raises SettingsError for outputs that neither targets nor a teacher would teach."""
    raw = [each.output_name for each in run.signature.each if each.task == "raw"]
    if raw and not (run.teacher and run.teacher.share):
        fix = (
            "say its task, as in --set 'model.tasks={kind = \"classification\"}', or bring a "
            "trained model: --set train.epochs=0"
            if run.label == "train"
            else f"learn from the trained one: --set {run.label}.distillation=0.5"
        )
        raise SettingsError(f"{run.label}: no loss is known of the output {raw[0]!r}", fix)


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
    copy_weights(model, copy)
    for own, other in zip(copy.trainable_variables, model.trainable_variables, strict=True):
        # clone_model does not carry constraints over, and with them the zeros of sparse pruning.
        own.constraint = other.constraint
    return copy


def _judge(run: TrainingRun, questions: Questions) -> Judge | None:
    """By the metric of the task; of classes the loop counts the right ones itself."""
    if run.signature.counts_images:
        return None
    task, labels = tasks.asked(run.signature), run.dataset.validation.labels

    def evidence(outputs: list[NDArray[np.float32]], start: int) -> NDArray[Any]:
        pairs = zip(questions, outputs, strict=True)
        own = run.signature.joined([question.in_unit(each) for question, each in pairs])
        if run.signature.metric:
            return own
        return task.evidence(own, labels[start : start + len(own)], run.signature)

    def score(outputs: NDArray[Any]) -> float:
        return task.score(task.evidence(outputs, labels, run.signature))

    if run.signature.metric:  # which may be one of all images together
        return Judge(evidence, score)

    return Judge(evidence, task.score)


def _trainer(model: keras.Model, run: TrainingRun, imitation: Imitation | None) -> Trainer:
    """The compiled training of `model`, resumed where there is a checkpoint."""
    settings, teacher = run.settings, run.teacher
    questions = ask(run.dataset, run.signature, is_standard=run.is_standard)
    _refuse_unlearned(run)
    objective = Objective(
        questions,
        class_weights=balance.weights(run.dataset, settings.class_weights),
        l1=settings.l1,
        l2=settings.l2,
        teach=teacher.losses if teacher and teacher.share else None,
    )
    rate = optimizers.schedule(settings, len(run.dataset.train))
    optimizer = optimizers.make(settings, rate, model.trainable_variables)
    if run.precision == "float16":
        optimizer = scaled(optimizer, model.trainable_variables)
    asked = teacher.model if teacher and teacher.share else None
    loop = Loop(model, optimizer, objective, settings, imitation, asked)
    checked = validation_batches(run.dataset, run.signature, settings)
    judge = _judge(run, questions)
    validation = Validation(model, checked, questions, judge, run.signature.words)
    checkpoint = Checkpoint(run.checkpoint, model, optimizer)
    return Trainer.resume(loop, validation, rate, checkpoint, run.label)
