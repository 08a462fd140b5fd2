"""Batch normalisation with the statistics that a network has after channels are gone.

Those of the unpruned network no longer fit what flows through the layers. Until they do, the
accuracy of a pruned network says little of what it reaches after a fine-tune: Li et al.,
"EagleEye: Fast Sub-net Evaluation for Efficient Neural Network Pruning", ECCV 2020, section 3.3.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from stages.keras_graph.walk import Call, calls, walk
from stages.numerics.batch_statistics import Values, pooled_moments

Moments = tuple[int, Values, Values]
"""Size, mean (C,) and variance (C,) of a batch."""


def recalibrate(flat: keras.Model, batches: Iterable[Any]) -> None:
    """Give batch normalisation the mean and variance that its inputs have on `batches`, in place.

    `batches` of images float32 (N, H, W, C), or lists of those of several inputs. As in training,
    every batch is normalised with its own statistics; everything else, Dropout included, runs as at
    inference. Frozen layers keep their statistics, as they do in training, and no other weight
    changes. A batch that a mask hides entirely counts for nothing.
    """
    found = {
        id(call.operation): call.operation
        for call in calls(flat)
        if type(call.operation) is layers.BatchNormalization and call.operation.trainable
    }
    if not found:
        return
    seen: dict[int, list[Moments]] = {key: [] for key in found}

    def visit(call: Call, *args: Any, **kwargs: Any) -> Any:
        # Called with training=False, as transfer learning does it, it is frozen as well.
        if id(call.operation) not in found or kwargs.get("training") is False:
            return call.operation(*args, **kwargs)
        mask = kwargs.get("mask")
        if mask is not None and not np.any(mask):
            return call.operation(args[0], training=False, mask=mask)
        seen[id(call.operation)].append(_moments(call.operation, args[0], mask))
        return call.operation(args[0], training=True, mask=mask)

    for images in batches:
        walk(flat, keras.tree.flatten(images), visit)
    for key, moments in seen.items():
        if not moments:
            continue
        mean, variance = pooled_moments(*zip(*moments, strict=True))
        layer = found[key]
        layer.moving_mean.assign(mean)
        layer.moving_variance.assign(variance)


def _moments(layer: Any, inputs: Any, mask: Any) -> Moments:
    """Over all places, or those that `mask` (N, ...) shows, as in training."""
    values = ops.cast(inputs, "float32")
    if mask is not None:
        # The places of all images as one axis, before that of the channels.
        values = ops.convert_to_tensor(np.asarray(values)[np.asarray(mask, bool)])
    axis = layer.axis % len(inputs.shape) if mask is None else len(values.shape) - 1
    others = [each for each in range(len(values.shape)) if each != axis]
    mean, variance = ops.moments(values, axes=others)
    count = int(np.prod([values.shape[each] for each in others]))
    return count, np.asarray(mean, np.float64), np.asarray(variance, np.float64)
