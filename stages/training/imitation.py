"""A student that looks where its teacher looks: distillation from attention maps.

Zagoruyko and Komodakis, "Paying More Attention to Attention", 2017, section 3.1: a map is the sum
of the squared activations over the channels, so that a pruned network has maps of the same size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from stages import progress
from stages.keras_graph.fold import flatten
from stages.keras_graph.walk import alone, calls, functional


@dataclass(frozen=True)
class Imitation:
    """Student and teacher that return their outputs and then the same activations, one for each
    size of image within the network, and the weight of the distance of their maps in the loss."""

    student: keras.Model
    teacher: keras.Model
    weight: float
    maps: int

    @classmethod
    def of(cls, student: keras.Model, teacher: keras.Model, weight: float) -> Imitation | None:
        """None, with a warning, where the two have no activations of equal size and name.

        Of each size of image the last activations count that both have: what a stage ends with.
        `student` is flat; its variables are shared, those of `teacher` copied.
        """
        flat = flatten(teacher)
        ours, theirs = _activations(student), _activations(flat)
        last = {
            tensor.shape[1:-1]: name
            for name, tensor in ours.items()
            if name in theirs and theirs[name].shape[1:-1] == tensor.shape[1:-1]
        }
        if not last:
            progress.warn("no activations of the pruned network are of a size of the trained one's")
            return None
        return cls(
            _watched(student, [ours[name] for name in last.values()]),
            _watched(flat, [theirs[name] for name in last.values()]),
            weight,
            len(last),
        )

    def run(self, images: tf.Tensor) -> tuple[Any, Any, tf.Tensor]:
        """What the student answers in training, what the teacher does, and the loss of each image
        (N,): `weight` times the squared distance of two maps of length 1, on average."""
        found = self.student(images, training=True), self.teacher(images, training=False)
        (outputs, seen), (answers, shown) = (
            (alone(each[: -self.maps]), each[-self.maps :]) for each in found
        )
        distances = [distance(one, other) for one, other in zip(seen, shown, strict=True)]
        return outputs, answers, self.weight * tf.add_n(distances) / len(distances)


def distance(one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """Squared distance of the maps (N,) of activations (N, ..., C), whatever their channels."""
    maps = [_map(each) for each in (one, other)]
    return tf.reduce_sum(tf.math.squared_difference(*maps), axis=1)


def _map(activations: tf.Tensor) -> tf.Tensor:
    """(N, H, W, C) -> (N, H * W) of length 1."""
    squares = tf.reduce_sum(tf.square(tf.cast(activations, tf.float32)), axis=-1)
    flat = tf.reshape(squares, [tf.shape(squares)[0], -1])
    return tf.math.l2_normalize(flat, axis=1)


def _activations(flat: keras.Model) -> Mapping[str, Any]:
    """By the name of the operation, in graph order: those of known size and several positions that
    are no image, of operations that are called once."""
    graph = calls(flat)
    names = [call.operation.name for call in graph]
    behind = {id(tensor) for call in graph for tensor in call.outputs if _has_kernel(call)}
    found = {}
    for call in graph:
        tensor = call.outputs[0]
        if any(id(each) in behind for each in call.inputs):
            behind.add(id(tensor))
        sides = tensor.shape[1:-1]
        is_map = id(tensor) in behind and None not in sides and max(sides, default=1) > 1
        if is_map and len(call.outputs) == 1 and names.count(call.operation.name) == 1:
            found[call.operation.name] = tensor
    return found


def _has_kernel(call: Any) -> bool:
    return any(len(weight.shape) > 1 for weight in getattr(call.operation, "weights", ()))


def _watched(model: keras.Model, tensors: Sequence[Any]) -> keras.Model:
    graph = functional(model)
    return keras.Model(alone(graph.inputs), [*graph.outputs, *tensors])
