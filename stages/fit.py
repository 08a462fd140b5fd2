"""The one training loop: first training, fine-tune after pruning, quantization-aware fine-tune."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from stages import progress
from stages.datasets import DataSet
from stages.errors import ModelError
from stages.settings import Training
from stages.signature import Signature

LABEL_SMOOTHING = 0.1
"""Keeps logits small, which small sets and INT8 ranges both profit from (Szegedy et al.,
'Rethinking the Inception Architecture', section 7)."""
WARMUP_SHARE = 0.1
"""Share of all steps in which the learning rate rises to its peak."""


def reset(seed: int) -> None:
    """Forget what earlier stages of this process left in Keras, and seed every generator.

    To be called before a model is made or loaded: a Dropout layer takes its seed then.
    """
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)


class KeepBest(keras.callbacks.Callback):
    """Ends with the weights of the epoch that was best on the validation images.

    Accuracy decides; among equals, which are common on a few hundred images, the lower loss.
    """

    def __init__(self) -> None:
        super().__init__()
        self.best = (-1.0, 0.0)
        self.weights: list[Any] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = logs or {}
        score = (logs["val_accuracy"], -logs["val_loss"])
        if score > self.best:
            self.best, self.weights = score, self.model.get_weights()

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        self.model.set_weights(self.weights)


class ReportProgress(keras.callbacks.Callback):
    """Tells each epoch, and stops a training whose loss is no number any more."""

    def __init__(self, label: str, epochs: int) -> None:
        super().__init__()
        self.label, self.epochs = label, epochs

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = logs or {}
        if not np.isfinite(logs["loss"]):
            raise ModelError(
                f"{self.label}: the loss is {logs['loss']} in epoch {epoch + 1}",
                f"lower {self.label}.learning_rate",
            )
        text = f"loss {logs['loss']:.3f}, validation accuracy {logs['val_accuracy']:.2%}"
        progress.report(text, epoch + 1, self.epochs)


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


def batches(
    dataset: DataSet,
    signature: Signature,
    training: Training,
    shift_pixels: int = 0,
    teacher: Teacher | None = None,
) -> tf.data.Dataset:
    """Shuffled training batches: images float32 (N, H, W, C), targets float32 (N, classes).

    Each image is moved by up to `shift_pixels` each way, the edge filled with its own pixels.
    """

    def prepare(images: tf.Tensor, labels: tf.Tensor) -> Any:
        pixels = tf.cast(images, tf.float32) * signature.scale + signature.offset
        targets = smooth(tf.one_hot(labels, len(signature.class_names)))
        return pixels, targets if teacher is None else teacher.mix(pixels, targets)

    data = tf.data.Dataset.from_tensor_slices((dataset.train.images[:], dataset.train.labels))
    data = data.shuffle(len(dataset.train.labels), training.seed, reshuffle_each_iteration=True)
    if shift_pixels:
        shift = partial(shifted, pixels=shift_pixels, seed=training.seed)
        data = data.enumerate().map(shift, num_parallel_calls=tf.data.AUTOTUNE)
    return data.batch(training.batch_size).map(prepare).prefetch(tf.data.AUTOTUNE)


def smooth(one_hot: tf.Tensor) -> tf.Tensor:
    """Targets that leave a little for every class."""
    return one_hot * (1 - LABEL_SMOOTHING) + LABEL_SMOOTHING / one_hot.shape[-1]


def shifted(
    position: tf.Tensor, sample: tuple[tf.Tensor, tf.Tensor], *, pixels: int, seed: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """One (image, label), the image moved by a random number of pixels each way."""
    image, label = sample
    wider = tf.pad(image, [[pixels, pixels], [pixels, pixels], [0, 0]], mode="SYMMETRIC")
    key = tf.stack([tf.constant(seed, tf.int64), position])
    return tf.image.stateless_random_crop(wider, image.shape, key), label


def fit(
    model: keras.Model,
    dataset: DataSet,
    signature: Signature,
    training: Training,
    *,
    label: str,
    shift_pixels: int = 0,
    teacher: Teacher | None = None,
) -> keras.Model:
    """Train `model` in place on the training split and return it.

    Adam with a cosine schedule and label smoothing; the weights of the best epoch on the
    validation split are kept. `label` names the settings section in messages.
    Raises ModelError when the loss is no number any more.
    """
    if training.epochs == 0:
        return model
    keras.utils.set_random_seed(training.seed)
    model.compile(
        keras.optimizers.Adam(schedule(training, len(dataset.train.labels))),
        keras.losses.CategoricalCrossentropy(from_logits=not returns_probabilities(model)),
        metrics=["accuracy"],
    )
    truth = smooth(tf.one_hot(dataset.validation.labels, len(signature.class_names)))
    model.fit(
        batches(dataset, signature, training, shift_pixels, teacher),
        validation_data=(signature.preprocess(dataset.validation.images[:]), truth),
        validation_batch_size=256,
        epochs=training.epochs,
        shuffle=False,
        verbose=0,
        callbacks=[KeepBest(), ReportProgress(label, training.epochs)],
    )
    return model


def schedule(training: Training, images: int) -> keras.optimizers.schedules.CosineDecay:
    """The learning rate by step: up in the first tenth, then down to zero along a cosine."""
    steps = training.epochs * -(-images // training.batch_size)
    warmup_steps = max(1, int(steps * WARMUP_SHARE))
    return keras.optimizers.schedules.CosineDecay(
        0.0,
        steps - warmup_steps,
        warmup_target=training.learning_rate,
        warmup_steps=warmup_steps,
    )
