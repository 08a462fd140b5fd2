"""Which scaling of the pixels a model was trained with, found by trying the usual ones.

A network that begins with `Rescaling(1 / 255)`, as in Keras' tutorials, sees almost black images
where `data.scale` has divided by 255 already, and answers at random.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
from keras.applications.imagenet_utils import preprocess_input
from numpy.typing import NDArray

from stages.artifacts.signature import Signature, scaling_in_words
from stages.datasets.base import Split
from stages.errors import ModelError
from stages.keras_graph.own_scaling import scaling_layers
from stages.numerics.proportions import Interval, paired_change
from stages.settings import Data
from stages.training import evaluate
from stages.training.baseline import percent, some_of

CLEARLY = 0.05
"""Accuracy that another scaling must bring, with 95 % confidence, to be the right one."""

EXPRESSIBLE = ((1.0, 0.0), (1 / 255, 0.0), (1 / 127.5, -1.0))
"""`data.scale` and `data.offset`."""
IMAGENET = {
    "torch": "ImageNet's means and standard deviations of every channel",
    "caffe": "ImageNet's means of every channel, in the order BGR",
}
"""Modes of Keras' `preprocess_input` for RGB that two numbers cannot express, in words."""


@dataclass(frozen=True)
class Scaling:
    """Pixels uint8 (N, H, W, C) -> what a model sees, float32, and how to set it."""

    words: str
    fix: str
    prepare: Callable[[Any], NDArray[np.float32]]

    def hits(self, model: keras.Model, split: Split) -> NDArray[np.bool_]:
        """Which images the model classifies rightly: bool (N,)."""
        starts = range(0, len(split), evaluate.BATCH)
        batches = (split.images[at : at + evaluate.BATCH] for at in starts)
        outputs = [evaluate.logits(model, self.prepare(batch)) for batch in batches]
        hits: NDArray[np.bool_] = np.concatenate(outputs).argmax(axis=1) == split.labels
        return hits


def best_settable(model: keras.Model, split: Split, signature: Signature) -> Signature:
    """`signature` with that `data.scale` and `data.offset` of the usual ones with which `model` is
    right most often; of equals, the default before the others.
    """
    usual = sorted(EXPRESSIBLE, key=lambda pair: pair != (Data().scale, Data().offset))
    tried = [dataclasses.replace(signature, scale=scale, offset=offset) for scale, offset in usual]
    return max(tried, key=lambda each: _settable(each).hits(model, split).sum())


def refuse_other_scaling(
    model: keras.Model, validation: Split, signature: Signature, name: str
) -> None:
    """Raises ModelError where a trained `model` is clearly better with another usual scaling.

    Judged on validation images. `name` is that of the model in the message.
    """
    split = some_of(validation)
    given = _settable(signature)
    hits = {each: each.hits(model, split) for each in [given, *_usual(signature)]}
    best = max(hits, key=lambda each: hits[each].sum())
    if _gain(hits[given], hits[best]).low <= CLEARLY:
        return
    own = scaling_layers(model)
    reason = f"scales its own pixels ({', '.join(own)})" if own else "was trained on other pixels"
    right = {each: percent(float(hits[each].mean())) for each in (best, given)}
    raise ModelError(
        f"{name} {reason}: {right[best]} of {len(split):,} validation images are right with "
        f"{best.words}, {right[given]} with {given.words}",
        best.fix,
    )


def doubt(model: keras.Model, signature: Signature) -> str | None:
    """A sentence on a model that is to be trained, where its pixels are scaled twice."""
    own = scaling_layers(model)
    if not own or (signature.scale, signature.offset) == (1.0, 0.0):
        return None
    return (
        f"the model scales its own pixels ({', '.join(own)}) after {_settable(signature).words} "
        "of data: if once is enough, set data.scale=1"
    )


def _usual(signature: Signature) -> list[Scaling]:
    settable = [
        _settable(dataclasses.replace(signature, scale=scale, offset=offset))
        for scale, offset in EXPRESSIBLE
    ]
    if signature.input_shape[2] != 3:
        return settable
    fix = (
        "make it a part of the model: keras.applications.imagenet_utils.preprocess_input(image, "
        "mode={!r}) before its first layer, and set data.scale=1"
    )
    return settable + [
        Scaling(words, fix.format(mode), partial(_of_imagenet, mode))
        for mode, words in IMAGENET.items()
    ]


def _of_imagenet(mode: str, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    prepared: NDArray[np.float32] = preprocess_input(pixels.astype(np.float32), mode=mode)
    return prepared


def _settable(signature: Signature) -> Scaling:
    """That of `data.scale` and `data.offset`."""
    scale, offset = signature.scale, signature.offset
    fix = f"--set data.scale={scale!r} --set data.offset={offset!r}".replace(".0 ", " ")
    return Scaling(scaling_in_words(scale, offset), fix.removesuffix(".0"), signature.preprocess)


def _gain(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> Interval:
    counts = (before & after, before & ~after, ~before & after, ~before & ~after)
    return paired_change(*(int(each.sum()) for each in counts))
