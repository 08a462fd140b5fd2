"""One epoch of training and one of validation, compiled, on one device or many.

Keras' own `fit` does not run under MultiWorkerMirroredStrategy (github.com/keras-team/keras,
issue 20585), clips gradients before they are summed over devices, and counts an order of images
in a way that a resumed training cannot restore. So the loop is ours; the layers, optimizers
and losses are Keras'. An epoch is one call: no Python between two steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from stages.settings import Training
from stages.training import losses as losses_of
from stages.training.imitation import Imitation
from stages.training.losses import Question, Questions, as_written, listed

Batch = tuple[tf.Tensor, ...]
"""Images float32 (N, H, W, C), or a tuple of those of several inputs, targets float32 (N, ...) of
losses.py, and what the teacher answers to these images where that is known."""


class Judge(NamedTuple):
    """How the outputs for the validation images are judged: see Validation."""

    evidence: Callable[[list[NDArray[np.float32]], int], NDArray[Any]]
    score: Callable[[NDArray[Any]], float]


@dataclass(frozen=True)
class Objective:
    """What a training minimises; `teach` (question, answers, targets, outputs) -> losses (N,) knows
    what a teacher answers.

    `class_weights` float32 (classes,), if there are any, times the loss of each answer of the
    only output, plus penalties.
    """

    questions: Questions
    class_weights: tf.Tensor | None
    l1: float
    l2: float
    teach: Callable[[Question, tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor] | None

    def losses(self, answers: Any, targets: Any, outputs: Any) -> tf.Tensor:
        """The loss of each image, the sum over the outputs: float32 (N,). `answers` are those of
        the teacher, None without one."""
        taught = [None] * len(self.questions) if answers is None else listed(answers)
        parts = zip(self.questions, taught, listed(targets), listed(outputs), strict=True)
        return tf.add_n([self._losses(*part) for part in parts])

    def _losses(
        self,
        question: Question,
        answers: tf.Tensor | None,
        targets: tf.Tensor,
        outputs: tf.Tensor,
    ) -> tf.Tensor:
        if self.teach is None or answers is None:
            found = question.losses(targets, outputs)
        else:
            found = self.teach(question, answers, targets, outputs)
        if self.class_weights is not None:
            # By the label, not by what a teacher makes of it: its answer may favour another class.
            found *= tf.gather(self.class_weights, question.classes(targets))
        return question.of_image(targets, found)

    def penalty(self, model: keras.Model) -> tf.Tensor:
        """L1 and L2 of the kernels, and the losses that layers of the user add."""
        total = tf.add_n([tf.constant(0.0), *(tf.cast(each, tf.float32) for each in model.losses)])
        if self.l1 or self.l2:
            for variable in model.trainable_variables:
                if len(variable.shape) > 1:
                    kernel = tf.convert_to_tensor(variable)
                    total += self.l1 * tf.reduce_sum(tf.abs(kernel))
                    total += self.l2 * tf.reduce_sum(tf.square(kernel))
        return total


class Loop:
    """The compiled functions of one training. Create it in the scope of its strategy.

    A step takes `accumulate_batches` batches. Its gradient is that of the mean loss over all
    of its images, whatever device they are on.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.Optimizer,
        objective: Objective,
        training: Training,
        imitation: Imitation | None = None,
        teacher: keras.Model | None = None,
    ) -> None:
        """`teacher` is asked where batches do not bring its answers."""
        self.model, self.optimizer, self.objective = model, optimizer, objective
        self.imitation, self.teacher = imitation, teacher
        self.training, self.strategy = training, tf.distribute.get_strategy()
        # Each device adds to a copy of its own; reading sums them. No traffic between two steps.
        self.sums = tf.Variable(
            tf.zeros(2),
            trainable=False,
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.SUM,
        )
        self._step = as_written(self._update)
        if training.xla:
            self._step = tf.function(self._update, jit_compile=True, autograph=False)

    def steps(self, images: int) -> int:
        """Steps in an epoch of `images` images."""
        batches = -(-images // self.training.batch_size)
        return -(-batches // self.training.accumulate_batches)

    def run(self, iterator: Any, images: int) -> tuple[float, float]:
        """Train on the next `images`. Returns their mean loss, without penalties, and accuracy."""
        batches = -(-images // self.training.batch_size)
        width = self.training.accumulate_batches
        self.sums.assign(tf.zeros(2))
        whole, rest = divmod(batches, width)
        left = images
        if whole:
            # Tensors, because each Python number would be traced as a function of its own. The rest
            # has another width, so it is a second trace.
            self._steps(iterator, tf.constant(whole), tf.constant(images), width)
            left -= whole * width * self.training.batch_size
        if rest:
            self._steps(iterator, tf.constant(1), tf.constant(left), rest)
        if self.strategy.num_replicas_in_sync > 1:
            self._agree()
        loss, accuracy = (float(each) / images for each in self.sums.read_value().numpy())
        return loss, accuracy

    @tf.function  # type: ignore[untyped-decorator]
    def _steps(self, iterator: Any, steps: tf.Tensor, images: tf.Tensor, width: int) -> None:
        # tf.range is a loop in the graph, so that an epoch is one call;
        # Python's range would unroll it.
        for _ in tf.range(steps):
            count = tf.minimum(images, width * self.training.batch_size)
            batches = tuple([next(iterator) for _ in range(width)])
            self.strategy.run(self._step, args=(batches, tf.cast(count, tf.float32)))
            images -= count

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def _agree(self) -> None:
        """Average the moving averages of all devices, which batch normalisation updates on each
        device by itself: one model is validated and saved.
        """
        # Floats only: random seeds are integers, and a mean of seeds is none of them.
        averages = [
            each for each in self.model.non_trainable_variables if each.dtype.startswith("float")
        ]

        def assign_means() -> None:
            context = tf.distribute.get_replica_context()
            values = [tf.identity(tf.convert_to_tensor(each)) for each in averages]
            means = context.all_reduce(tf.distribute.ReduceOp.MEAN, values)
            for variable, mean in zip(averages, means, strict=True):
                variable.assign(mean)

        if averages:
            self.strategy.run(assign_means)

    def _update(self, batches: tuple[Batch, ...], count: tf.Tensor) -> None:
        """One step on one device: its share of `count` images, in several batches."""
        variables = self.model.trainable_variables
        scale = self.optimizer.scale_loss(tf.constant(1.0))
        parts = len(batches) * self.strategy.num_replicas_in_sync
        gradients = [tf.zeros(each.shape) for each in variables]
        for images, targets, *known in batches:
            with tf.GradientTape() as tape:
                outputs, losses = self._answers(images, targets, *known)
                # Every part of the step, on every device, adds a
                # penalty: together they must make one.
                penalty = self.objective.penalty(self.model) / parts
                loss = (tf.reduce_sum(losses) / count + penalty) * scale
            # Zeros instead of None, which could not be added up.
            found = tape.gradient(
                loss, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO
            )
            gradients = [a + b for a, b in zip(gradients, found, strict=True)]
            hits = losses_of.hits(self.objective.questions, targets, outputs)
            self.sums.assign_add(tf.stack([tf.reduce_sum(losses), hits]))
        self.optimizer.apply_gradients(zip(self._clipped(gradients, scale), variables, strict=True))

    def _answers(self, images: tf.Tensor, targets: Any, known: Any = None) -> tuple[Any, tf.Tensor]:
        """Outputs (N, classes), and the loss of each image (N,)."""
        if self.imitation is None:
            outputs = self.model(images, training=True)
            if known is None and self.teacher is not None:
                known = self.teacher(images, training=False)
            return outputs, self.objective.losses(known, targets, outputs)
        outputs, answers, apart = self.imitation.run(images)
        return outputs, self.objective.losses(answers, targets, outputs) + apart

    def _clipped(self, gradients: list[tf.Tensor], scale: tf.Tensor) -> list[tf.Tensor]:
        """Gradients for the optimizer to sum over devices, clipped by the norm of that sum."""
        if self.training.clip_norm is None:
            return gradients
        devices = self.strategy.num_replicas_in_sync
        # Before clipping: Keras clips what each device has, which is no
        # clipping of the sum (decision 17).
        if devices > 1:
            context = tf.distribute.get_replica_context()
            gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        # Gradients still carry the loss scale of float16, so the limit is scaled like them.
        clipped, _ = tf.clip_by_global_norm(gradients, self.training.clip_norm * scale)
        # Every device now holds the sum, and the optimizer is going to add them up once more.
        return [each / devices for each in clipped]


class Validation:
    """What decides in the task, and the loss, on the validation images, on one device.

    `judge` gives the evidence of outputs (N, ...) for the images from a place on, and the score of
    the evidence of all: stages/tasks. Without it the share of right classes decides.
    """

    def __init__(
        self,
        model: keras.Model,
        batches: tf.data.Dataset,
        questions: Questions,
        judge: Judge | None = None,
        words: str = "accuracy",
    ) -> None:
        """`words` call what decides."""
        self.model, self.batches, self.questions, self.judge = model, batches, questions, judge
        self.words = words
        self._answer = tf.function(self._of_batch, autograph=False)

    def run(self) -> tuple[float, float]:
        """(score, mean loss: of classes cross-entropy in nats)."""
        if self.judge is None:
            loss, right, count = (float(each) for each in self._sums())
            return right / count, loss / count
        rows, losses, count = [], 0.0, 0
        for images, targets in self.batches:
            outputs, loss, _ = self._answer(images, targets)
            rows.append(self.judge.evidence([each.numpy() for each in listed(outputs)], count))
            losses, count = losses + float(loss), count + len(rows[-1])
        return self.judge.score(np.concatenate(rows)), losses / count

    @tf.function  # type: ignore[untyped-decorator]
    def _sums(self) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        loss, right, count = tf.constant(0.0), tf.constant(0.0), tf.constant(0.0)
        judge = as_written(self._of_batch)
        for images, targets in self.batches:
            _, losses, hits = judge(images, targets)
            loss, right = loss + losses, right + hits
            count += tf.cast(tf.shape(listed(images)[0])[0], tf.float32)
        return loss, right, count

    def _of_batch(self, images: tf.Tensor, targets: Any) -> tuple[Any, tf.Tensor, tf.Tensor]:
        """Outputs (N, ...), the sum of the losses, and the hits."""
        outputs = self.model(images, training=False)
        loss = tf.reduce_sum(losses_of.losses(self.questions, targets, outputs))
        return outputs, loss, losses_of.hits(self.questions, targets, outputs)
