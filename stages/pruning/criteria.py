"""Scores of the output channels of every layer that makes some, by `prune.criterion`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from stages.keras_graph.channel_rules import PRODUCERS
from stages.keras_graph.producers import channel_kernels
from stages.keras_graph.walk import Call, calls
from stages.numerics.channel_scores import Scores, norm_scores, scale_scores, taylor_scores
from stages.training.losses import Question, Questions, losses

TAYLOR_BATCHES = 16
"""Batches of training images for the gradients; the order of channels hardly changes after."""


CLASSES = (Question("classification", 0, from_logits=True),)


def layer_scores(
    flat: keras.Model,
    criterion: str,
    batches: Iterable[tuple[Any, Any]],
    *,
    questions: Questions = CLASSES,
) -> dict[str, Scores]:
    """Scores of the output channels of every convolution and Dense layer, by name.

    `batches` of images and targets, and the `questions` that are asked of `flat`, are for `taylor`
    alone. `bn_scale` takes the L2 norm where no batch normalisation follows.
    """
    graph = [call for call in calls(flat) if type(call.operation) in PRODUCERS]
    if criterion == "taylor":
        return _taylor(flat, graph, batches, questions)
    gammas = _gammas(flat)
    scores: dict[str, Scores] = {}
    for call in graph:
        for name, (kernel, axis) in channel_kernels(call.operation).items():
            is_output = name == call.operation.name
            gamma = gammas.get(id(call.outputs[0])) if is_output else None
            scores[name] = _scores(kernel.numpy(), axis, criterion, gamma)
    return scores


def _scores(kernel: Any, axis: int, criterion: str, gamma: Any) -> Scores:
    if criterion == "bn_scale" and gamma is not None:
        return scale_scores(gamma)
    return norm_scores(kernel, axis, gamma, 1 if criterion == "l1" else 2)


def _gammas(flat: keras.Model) -> dict[int, Any]:
    """id of a tensor -> the scale of the batch normalisation that it goes through."""
    return {
        id(call.inputs[0]): call.operation.gamma.numpy()
        for call in calls(flat)
        if isinstance(call.operation, layers.BatchNormalization) and call.operation.scale
    }


def _taylor(
    flat: keras.Model,
    graph: list[Call],
    batches: Iterable[tuple[Any, Any]],
    questions: Questions,
) -> dict[str, Scores]:
    """At inference: in training, batch normalisation undoes any change of a kernel's scale."""
    producers = {
        name: made for call in graph for name, made in channel_kernels(call.operation).items()
    }
    kernels = [kernel.value for kernel, _ in producers.values()]
    gradients: list[list[Any]] = [[] for _ in kernels]
    for images, targets in batches:
        with tf.GradientTape() as tape:
            error = tf.reduce_mean(losses(questions, targets, flat(images, training=False)))
        for seen, gradient in zip(gradients, tape.gradient(error, kernels), strict=True):
            seen.append(np.asarray(gradient))
    return {
        name: taylor_scores(kernel.numpy(), seen, axis)
        for (name, (kernel, axis)), seen in zip(producers.items(), gradients, strict=True)
    }
