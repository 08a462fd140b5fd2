"""Training batches whose order and shifts are a function of seed and epoch, and of nothing else.

So a training that resumes after a kill sees what it would have seen, and several devices together
see what one would.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from stages.artifacts.signature import Input, Signature
from stages.datasets.base import DataSet, Split
from stages.datasets.inputs import Form, forms
from stages.keras_graph.walk import alone
from stages.numerics import fields
from stages.settings import Data, Training
from stages.training import augmentation
from stages.training.augmentation import DRAWS, UNCHANGED
from stages.training.evaluate import batch_size
from stages.training.losses import Questions, as_written, ask


def batches(
    dataset: DataSet,
    signature: Signature,
    training: Training,
    data: Data = UNCHANGED,
    epochs: range = range(1),
    context: tf.distribute.InputContext | None = None,
    answers: NDArray[Any] | None = None,
) -> tf.data.Dataset:
    """Shuffled training batches: images float32 (N, ..., C), targets float32 (N, ...).

    With `answers`, one for each training image, also those to the images of the batch. Of several
    inputs there is a tuple of images, of several outputs one of targets, and one of answers.

    Each image is moved by up to `data.shift_pixels` each way, the edge filled with its own pixels,
    and augmented in the other ways that `data` sets; signals and volumes are as they are. Of
    several inputs those that are images are changed, all of a sample alike.
    With a `context`, the pieces of each batch for the devices of this worker, one after the
    other; an epoch is then `images_per_epoch` long.
    """
    replicas = context.num_replicas_in_sync if context else 1
    drawn = _drawn(dataset, images_per_epoch(dataset, replicas), training, data, epochs)
    if context is not None and replicas > 1:
        drawn = drawn.map(as_written(lambda *batch: _pieces(batch, context))).unbatch()
    prepare = as_written(_preparation(dataset, signature, training, data, answers))
    prepared = drawn.map(prepare, num_parallel_calls=tf.data.AUTOTUNE)
    return prepared.prefetch(tf.data.AUTOTUNE)


def _drawn(
    dataset: DataSet, wanted: int, training: Training, data: Data, epochs: range
) -> tf.data.Dataset:
    """Of each batch the indices of its images (N,), how far they move (N, 2) and the numbers that
    decide what else becomes of them (N, DRAWS): `wanted` images in every epoch.
    """

    def epoch_of(number: tf.Tensor) -> tf.data.Dataset:
        key = tf.stack([tf.constant(training.seed, tf.int64), number])
        order = tf.random.experimental.stateless_shuffle(tf.range(len(dataset.train)), key)
        # A key of its own for every purpose: with the same one, the shifts would follow the order.
        moves = tf.random.stateless_uniform(
            (len(dataset.train), 2),
            tf.random.experimental.stateless_fold_in(key, 1),
            maxval=2 * data.shifts + 1,
            dtype=tf.int32,
        )
        another = tf.random.experimental.stateless_fold_in(key, 2)
        draws = tf.random.stateless_uniform((len(dataset.train), DRAWS), another)
        # Cut after drawing, so that the numbers are the same on any number of devices; what is left
        # out is another image in every epoch (decision 17).
        slices = (order[:wanted], moves[:wanted], draws[:wanted])
        whole = tf.data.Dataset.from_tensor_slices(slices)
        return whole.batch(training.batch_size)

    return tf.data.Dataset.range(epochs.start, epochs.stop).flat_map(as_written(epoch_of))


def _preparation(
    dataset: DataSet,
    signature: Signature,
    training: Training,
    data: Data,
    answers: NDArray[Any] | None,
) -> Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, ...]]:
    """The function that makes images, targets and answers of a batch of `_drawn`."""
    questions = ask(dataset, signature)
    changes = [_of_input(each, data) for each in signature.inputs] or [data]
    # Outside of the function: inside, it would be a constant of its graph, of at most 2 GB.
    kept = [] if answers is None else [tf.constant(each) for each in fields.parts(answers)]

    def prepare(indices: tf.Tensor, moves: tf.Tensor, draws: tf.Tensor) -> tuple[tf.Tensor, ...]:
        images, labels = _read(dataset.train, signature, indices)
        labels = [
            _moved(each, moves, draws, data) if question.task == "segmentation" else each
            for each, question in zip(labels, questions, strict=True)
        ]
        images = [
            _changed(each, moves, draws, own) for each, own in zip(images, changes, strict=True)
        ]
        given = [alone(tuple(tf.gather(each, indices) for each in kept))] if kept else []
        wanted = _targets(questions, labels, training)
        return (_preprocessed(images, signature), wanted, *given)

    return prepare


def in_order(split: Split, signature: Signature, size: int) -> tf.data.Dataset:
    """The images of `split` in their order, as they are: float32 (up to `size`, ..., C), a tuple of
    those of several inputs."""
    indices = tf.data.Dataset.range(len(split)).batch(size)
    return indices.map(
        as_written(lambda some: _preprocessed(_read(split, signature, some)[0], signature))
    )


def images_per_epoch(dataset: DataSet, replicas: int) -> int:
    """Training images per epoch, rounded down so that all devices share the last batch equally."""
    return len(dataset.train) // replicas * replicas


def validation_batches(
    dataset: DataSet, signature: Signature, training: Training
) -> tf.data.Dataset:
    """The validation images in their order, with targets."""

    def prepare(indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        images, labels = _read(dataset.validation, signature, indices)
        return _preprocessed(images, signature), _targets(questions, labels, training)

    questions = ask(dataset, signature)
    size = batch_size(*(each.input_shape for each in signature.each_input))
    indices = tf.data.Dataset.range(len(dataset.validation)).batch(size)
    prepared = indices.map(as_written(prepare), num_parallel_calls=tf.data.AUTOTUNE)
    return prepared.prefetch(tf.data.AUTOTUNE)


def _targets(questions: Questions, labels: Sequence[tf.Tensor], training: Training) -> Any:
    """Of the only output, or a tuple of those of several."""
    pairs = zip(questions, labels, strict=True)
    return alone(tuple(each.targets(right, training.label_smoothing) for each, right in pairs))


def shifted(images: tf.Tensor, moves: tf.Tensor, pixels: int) -> tf.Tensor:
    """Images (N, H, W, C), each moved by `moves` (N, 2) - `pixels` down and to the right."""
    height, width = images.shape[1:3]
    wider = tf.pad(images, [[0, 0], [pixels] * 2, [pixels] * 2, [0, 0]], mode="SYMMETRIC")
    rows = moves[:, :1] + tf.range(height)
    columns = moves[:, 1:] + tf.range(width)
    taken = tf.gather(wider, rows, axis=1, batch_dims=1)
    return tf.gather(taken, columns, axis=2, batch_dims=1)


def _of_input(source: Input, data: Data) -> Data:
    """How `data` has one of several inputs augmented: contrast is of pixels, the rest of images."""
    if len(source.input_shape) != 3:
        return UNCHANGED
    return data if source.data_dtype == "uint8" else data.model_copy(update={"contrast": 0.0})


def _changed(images: tf.Tensor, moves: tf.Tensor, draws: tf.Tensor, data: Data) -> tf.Tensor:
    """Images (N, H, W, C), moved and augmented as `batches` does it."""
    if data.shifts:
        images = shifted(images, moves, data.shifts)
    return augmentation.augmented(images, draws, data) if augmentation.is_wanted(data) else images


def _moved(masks: tf.Tensor, moves: tf.Tensor, draws: tf.Tensor, data: Data) -> tf.Tensor:
    """Masks (N, H, W) where `batches` moves their images."""
    found = masks[..., None]
    if data.shifts:
        found = shifted(found, moves, data.shifts)
    if augmentation.is_wanted(data):
        found = augmentation.augmented_masks(found, draws, data)
    return found[..., 0]


def _pieces(batch: tuple[tf.Tensor, ...], context: tf.distribute.InputContext) -> Any:
    """Each tensor (N, ...) of a batch as (devices of this worker, N / all devices, ...)."""
    replicas, workers = context.num_replicas_in_sync, context.num_input_pipelines
    here = replicas // workers
    first = context.input_pipeline_id * here

    def split(tensor: tf.Tensor) -> tf.Tensor:
        shape = tf.concat([[replicas, -1], tf.shape(tensor)[1:]], 0)
        whole = tf.reshape(tensor, shape)
        return tf.ensure_shape(whole, [None, None, *tensor.shape[1:]])[first : first + here]

    return tuple(split(tensor) for tensor in batch)


def _read(
    split: Split, signature: Signature, indices: tf.Tensor
) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    """The images at `indices`, of every input, and their labels, of every output: also of arrays
    that lie on disk, batch by batch."""
    labels, images = signature.labels_by_output(split.labels), forms(split.images)

    def take(where: NDArray[np.int64]) -> list[NDArray[Any]]:
        taken = split.images[where]
        inputs = [taken[name] for name in signature.input_names] if signature.inputs else [taken]
        return [*inputs, *(each[where] for each in labels)]

    # Not stateful, because it depends on its arguments alone: TensorFlow runs stateful maps one at
    # a time where everything is to be deterministic.
    names = signature.input_names if signature.inputs else ("",)
    kinds = [images[name] for name in names] + [Form(each.shape[1:], each.dtype) for each in labels]
    types = [tf.as_dtype(each.dtype) for each in kinds]
    found: list[tf.Tensor] = tf.numpy_function(take, [indices], types, stateful=False)
    for tensor, form in zip(found, kinds, strict=True):
        tensor.set_shape([None, *form.shape])
    return found[: len(names)], found[len(names) :]


def _preprocessed(images: Sequence[tf.Tensor], signature: Signature) -> Any:
    """Of the only input, or a tuple of those of several."""
    pairs = zip(images, signature.each_input, strict=True)
    return alone(tuple(tf.cast(each, tf.float32) * own.scale + own.offset for each, own in pairs))
