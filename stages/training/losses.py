"""What training asks of each task: its targets, its loss and what is right, in TensorFlow.

A loss is the mean over what is asked of one image, so that a learning rate means the same for one
label and for a thousand pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from stages.artifacts.signature import Signature
from stages.datasets.base import DataSet
from stages.tasks.registry import TaskName

Measure = Callable[[tf.Tensor, tf.Tensor, bool], tf.Tensor]
"""(targets, outputs float32, whether these are logits) -> float32, one for each answer."""


as_written = tf.autograph.experimental.do_not_convert
"""For functions whose Python decides nothing by the value of a tensor: TensorFlow would rewrite the
source of all that they call, Keras' layers included, which takes seconds in each process."""


class Kind(NamedTuple):
    """One kind of outputs: loss, what is right, and how logits become probabilities and back."""

    losses: Measure
    hits: Measure
    soften: Callable[[tf.Tensor], tf.Tensor]
    unsoften: Callable[[tf.Tensor], tf.Tensor]
    """Up to what `soften` does not see; no logarithm of 0."""


@dataclass(frozen=True, eq=False)
class Question:
    """What outputs (N, ...) of a network are compared with.

    Numbers are compared in standard deviations from the mean of the training targets, `spread` and
    `mean` float32 (values,): a loss means the same for ages and for millimetres. `is_standard` is
    of a network that returns them so.
    """

    task: TaskName
    width: int
    from_logits: bool
    mean: NDArray[np.float32] | None = None
    spread: NDArray[np.float32] | None = None
    is_standard: bool = False

    @property
    def kind(self) -> Kind:
        """Softmax, sigmoids or numbers."""
        if self.task in ("regression", "raw"):
            return VALUES
        is_single = self.task in ("binary", "multilabel") or self.width == 1
        return SIGMOIDS if is_single else SOFTMAX

    def targets(self, labels: tf.Tensor, smoothing: float) -> tf.Tensor:
        """Labels (N, ...) as targets float32 (N, ..., values), `smoothing` spread over classes.

        There are none of what is not judged by itself: (N, 0).
        """
        if self.task == "raw":
            return tf.zeros((tf.shape(labels)[0], 0))
        if self.task == "regression":
            return (tf.cast(labels, tf.float32) - self.mean) / self.spread
        if self.kind is SOFTMAX:
            one_hot = tf.one_hot(tf.cast(labels, tf.int32), self.width)
            spread = smoothing / self.width
            if self.task != "segmentation":
                return one_hot * (1 - smoothing) + spread
            # All zeros, which no loss sees, where a pixel is not judged.
            return one_hot * (1 - smoothing) + spread * tf.reduce_sum(one_hot, -1, keepdims=True)
        yes = tf.cast(labels, tf.float32)
        yes = yes if self.task == "multilabel" else yes[..., None]
        return tf.where(yes > 1, -1.0, yes * (1 - smoothing) + smoothing / 2)

    def seen(self, outputs: tf.Tensor) -> tf.Tensor:
        """Outputs as they are compared: float32."""
        outputs = tf.cast(outputs, tf.float32)
        is_compared = self.spread is None or self.is_standard
        return outputs if is_compared else (outputs - self.mean) / self.spread

    def in_unit(self, outputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Outputs in the unit of the labels."""
        if self.spread is None or self.mean is None or not self.is_standard:
            return outputs
        found: NDArray[np.float32] = outputs * self.spread + self.mean
        return found

    def losses(self, targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        """Of each answer: float32 (N,), or (N, H, W) of pixels."""
        if self.task == "raw":
            return tf.zeros(tf.shape(outputs)[0])
        return self.kind.losses(targets, self.seen(outputs), self.from_logits)

    def hits(self, targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        """Number of right answers, of numbers the sum of what is explained: a float32 scalar."""
        if self.task == "raw":
            return tf.constant(0.0)
        found = self.kind.hits(targets, self.seen(outputs), self.from_logits)
        return tf.reduce_sum(self.of_image(targets, found))

    def of_image(self, targets: tf.Tensor, found: tf.Tensor) -> tf.Tensor:
        """The mean of what is judged of each image: (N, ...) -> (N,)."""
        if len(found.shape) == 1:
            return found
        judged = tf.reduce_sum(targets, axis=-1) > 0 if self.width > 1 else targets[..., 0] >= 0
        weights = tf.cast(judged, tf.float32)
        axes = list(range(1, len(found.shape)))
        total = tf.maximum(tf.reduce_sum(weights, axes), 1.0)
        return tf.reduce_sum(found * weights, axes) / total

    def classes(self, targets: tf.Tensor) -> tf.Tensor:
        """The class of each answer: int64 (N,) or (N, H, W)."""
        if self.kind is SOFTMAX:
            return tf.argmax(targets, axis=-1)
        return tf.cast(targets[..., 0] >= 0.5, tf.int64)

    def taught(self, outputs: tf.Tensor) -> tf.Tensor:
        """Outputs of a teacher, which answers in the unit of the labels, as targets."""
        if self.spread is not None:
            return (tf.cast(outputs, tf.float32) - self.mean) / self.spread
        outputs = self.seen(outputs)
        return self.kind.soften(outputs) if self.from_logits else outputs

    def logits(self, outputs: tf.Tensor) -> tf.Tensor:
        """Outputs before what makes probabilities of them."""
        outputs = self.seen(outputs)
        return outputs if self.from_logits else self.kind.unsoften(outputs)


Questions = tuple[Question, ...]
"""One for each output. What is compared are then lists, or of one output the tensor itself."""


def ask(dataset: DataSet, signature: Signature, *, is_standard: bool = False) -> Questions:
    """The questions of a data set to a network with this signature."""
    labels = signature.labels_by_output(dataset.train.labels)
    pairs = zip(signature.each, labels, strict=True)
    return tuple(_ask(own, targets, is_standard) for own, targets in pairs)


def _ask(signature: Signature, labels: NDArray[Any], is_standard: bool) -> Question:
    width, from_logits = signature.shape_of_output[-1], not signature.returns_probabilities
    if signature.task != "regression":
        return Question(signature.task, width, from_logits)
    return Question(signature.task, width, from_logits, *standard(labels), is_standard)


def standard(labels: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and standard deviation of the targets (N, values) to learn: float32 (values,) each.

    1 in place of a deviation of 0: in a few of the images a target may have one value.
    """
    exact = labels.astype(np.float64)
    spread = exact.std(axis=0)
    spread = np.where(spread == 0, 1.0, spread)
    return exact.mean(axis=0).astype(np.float32), spread.astype(np.float32)


def losses(questions: Questions, targets: Any, outputs: Any) -> tf.Tensor:
    """Of each image, the sum over the outputs: float32 (N,)."""
    pairs = zip(questions, listed(targets), listed(outputs), strict=True)
    return tf.add_n([each.of_image(right, each.losses(right, said)) for each, right, said in pairs])


def hits(questions: Questions, targets: Any, outputs: Any) -> tf.Tensor:
    """Number of right answers, the mean over the outputs: a float32 scalar."""
    pairs = zip(questions, listed(targets), listed(outputs), strict=True)
    return tf.add_n([each.hits(right, said) for each, right, said in pairs]) / len(questions)


def listed(tensors: Any) -> list[tf.Tensor]:
    """Those of all outputs, in order."""
    found: list[tf.Tensor] = keras.tree.flatten(tensors)
    return found


def imitated(answers: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    """Squared distance of outputs (N, ...) from a teacher's, in variances of these: (N,)."""
    answers, outputs = (tf.cast(each, tf.float32) for each in (answers, outputs))
    spread = tf.maximum(tf.math.reduce_variance(answers), 1e-12)
    axes = list(range(1, len(outputs.shape)))
    return tf.reduce_mean(tf.math.squared_difference(answers, outputs), axes) / spread


def _categorical(targets: tf.Tensor, outputs: tf.Tensor, from_logits: bool) -> tf.Tensor:
    return keras.losses.categorical_crossentropy(targets, outputs, from_logits)


def _same_class(targets: tf.Tensor, outputs: tf.Tensor, from_logits: bool) -> tf.Tensor:
    same = tf.equal(tf.argmax(outputs, axis=-1), tf.argmax(targets, axis=-1))
    return tf.cast(same, tf.float32)


def _sigmoid(targets: tf.Tensor, outputs: tf.Tensor, from_logits: bool) -> tf.Tensor:
    return keras.losses.binary_crossentropy(tf.maximum(targets, 0.0), outputs, from_logits)


def _same_side(targets: tf.Tensor, outputs: tf.Tensor, from_logits: bool) -> tf.Tensor:
    middle = 0.0 if from_logits else 0.5
    same = tf.equal(outputs >= middle, targets >= 0.5)
    return tf.reduce_mean(tf.cast(same, tf.float32), axis=-1)


def _squared(targets: tf.Tensor, outputs: tf.Tensor, from_logits: bool) -> tf.Tensor:
    return tf.reduce_mean(tf.square(targets - outputs), axis=-1)


def _explained(targets: tf.Tensor, outputs: tf.Tensor, from_logits: bool) -> tf.Tensor:
    # Of targets with a variance of 1 the mean of this is R2.
    return 1 - _squared(targets, outputs, from_logits)


def _log_odds(shares: tf.Tensor) -> tf.Tensor:
    return tf.math.log(shares + 1e-7) - tf.math.log(1 - shares + 1e-7)


def _log(shares: tf.Tensor) -> tf.Tensor:
    return tf.math.log(shares + 1e-7)


SOFTMAX = Kind(_categorical, _same_class, tf.nn.softmax, _log)
SIGMOIDS = Kind(_sigmoid, _same_side, tf.nn.sigmoid, _log_odds)
VALUES = Kind(_squared, _explained, tf.identity, tf.identity)
