"""Which scaling of the pixels a model was trained with, found by trying the usual ones.

A network that begins with `Rescaling(1 / 255)`, as in Keras' tutorials, sees almost black images
where `data.scale` has divided by 255 already, and answers at random.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
from keras.applications.imagenet_utils import preprocess_input
from numpy.typing import NDArray

from stages.artifacts.signature import Fed, Signature, scaling_in_words
from stages.datasets.base import Split
from stages.errors import ModelError
from stages.keras_graph.own_scaling import scaling_layers
from stages.numerics.proportions import Interval, of_counts
from stages.settings import Data
from stages.tasks.base import Answers
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
    prepare: Callable[[Any], Fed]

    def answers(self, model: keras.Model, split: Split, signature: Signature) -> Answers:
        """What the model says of the images."""
        starts = range(0, len(split), evaluate.BATCH)
        batches = (split.images[at : at + evaluate.BATCH] for at in starts)
        outputs = [evaluate.logits(model, self.prepare(batch), signature) for batch in batches]
        return Answers.of(np.concatenate(outputs), split.labels, signature)


def best_settable(model: keras.Model, split: Split, signature: Signature) -> Signature:
    """`signature` with that `data.scale` and `data.offset` of the usual ones with which `model` is
    best; of equals, the default before the others.
    """
    usual = sorted(EXPRESSIBLE, key=lambda pair: pair != (Data().scale, Data().offset))
    tried = [signature.scaled(scale, offset) for scale, offset in usual]
    return max(tried, key=lambda each: _settable(each).answers(model, split, each).score)


def refuse_other_scaling(
    model: keras.Model, validation: Split, signature: Signature, name: str
) -> None:
    """Raises ModelError where a trained `model` is clearly better with another usual scaling.

    Judged on validation images. `name` is that of the model in the message. Nothing is usual about
    values that are no pixels.
    """
    if not signature.has_pixels:
        return
    split = some_of(validation)
    given = _settable(signature)
    tried = [given, *_usual(signature)]
    answers = {each: each.answers(model, split, signature) for each in tried}
    best = max(answers, key=lambda each: answers[each].score)
    if _gain(answers[given], answers[best]).low <= CLEARLY:
        return
    own = scaling_layers(model, signature)
    reason = f"scales its own pixels ({', '.join(own)})" if own else "was trained on other pixels"
    reached = {each: percent(answers[each].score) for each in (best, given)}
    if signature.counts_images:
        found = f"{reached[best]} of {len(split):,} validation images are right with {best.words}"
    else:
        found = (
            f"{signature.words} is {reached[best]} on {len(split):,} validation images with "
            f"{best.words}"
        )
    raise ModelError(
        f"{name} {reason}: {found}, {reached[given]} with {given.words}",
        best.fix,
    )


def doubt(model: keras.Model, signature: Signature) -> str | None:
    """A sentence on a model that is to be trained, where its pixels are scaled twice."""
    own = scaling_layers(model, signature)
    if not own or signature.scaling == (1.0, 0.0):
        return None
    return (
        f"the model scales its own pixels ({', '.join(own)}) after {_settable(signature).words} "
        "of data: if once is enough, set data.scale=1"
    )


def doubts_of_vectors(signature: Signature) -> Iterator[str]:
    """A sentence on each of several inputs that is a vector and scaled as pixels are."""
    for each in signature.inputs:
        if each.data_dtype == "uint8" and len(each.input_shape) == 1:
            words = scaling_in_words(each.scale, each.offset)
            yield (
                f"the input {each.name!r} is a vector of uint8, and so scaled with {words} as "
                "pixels are: if it holds other numbers, give it as float32"
            )


def _usual(signature: Signature) -> list[Scaling]:
    settable = [_settable(signature.scaled(scale, offset)) for scale, offset in EXPRESSIBLE]
    pixels = [each for each in signature.each_input if each.data_dtype == "uint8"]
    if any(each.input_shape[2:] != (3,) for each in pixels):
        return settable
    fix = (
        "make it a part of the model: keras.applications.imagenet_utils.preprocess_input(image, "
        "mode={!r}) before its first layer, and set data.scale=1"
    )
    return settable + [
        Scaling(words, fix.format(mode), partial(_of_imagenet, mode, signature))
        for mode, words in IMAGENET.items()
    ]


def _of_imagenet(mode: str, signature: Signature, images: NDArray[Any]) -> Fed:
    """What `images`, or those of several inputs that are pixels, are then."""
    fed = signature.fed_as("uint8").feed(images)
    if isinstance(fed, list):
        return [_prepared(mode, each) if each.dtype == np.uint8 else each for each in fed]
    return _prepared(mode, fed)


def _prepared(mode: str, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    prepared: NDArray[np.float32] = preprocess_input(pixels.astype(np.float32), mode=mode)
    return prepared


def _settable(signature: Signature) -> Scaling:
    """That of `data.scale` and `data.offset`."""
    scale, offset = signature.scaling
    fix = f"--set data.scale={scale!r} --set data.offset={offset!r}".replace(".0 ", " ")
    return Scaling(scaling_in_words(scale, offset), fix.removesuffix(".0"), signature.preprocess)


def _gain(before: Answers, after: Answers) -> Interval:
    return before.change_to(after) or of_counts(before.errors == 0, after.errors == 0)
