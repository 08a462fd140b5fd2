"""A model at chance is not worth pruning: whatever it becomes is "as accurate"."""

from __future__ import annotations

import keras
import numpy as np

from stages.artifacts.signature import Signature
from stages.datasets.base import Split
from stages.datasets.several import of
from stages.errors import ModelError
from stages.measurement.luck import FEWEST, is_above_luck, sampled
from stages.numerics import chance, fields
from stages.tasks import base as tasks
from stages.tasks.base import Outputs
from stages.training import evaluate


def some_of(split: Split) -> Split:
    """As many images as such a question needs, of every class in proportion."""
    return split.take(sampled(split))


def refuse_chance(model: keras.Model, validation: Split, signature: Signature) -> None:
    """Raises ModelError for a trained model that does not know more than luck explains.

    Judged on validation images, with 95 % confidence (numerics/chance.py).
    """
    split = some_of(validation)
    outputs = evaluate.answers(model, split, signature)
    if signature.metric:
        _refuse_luck(outputs, split, signature, "")
        return
    for own, said in zip(signature.each, fields.parts(outputs), strict=True):
        name = own.output_name if signature.heads else ""
        _refuse(said, of(split, name), own, f", output {name!r}," if name else "")


def _refuse(outputs: Outputs, split: Split, signature: Signature, output: str) -> None:
    """As `refuse_chance`, of one output; `output` is its name in messages."""
    if signature.task != "classification":
        _refuse_luck(outputs, split, signature, output)
        return
    predicted = outputs.argmax(axis=1)
    hits, samples = int(np.sum(predicted == split.labels)), len(split)
    share = chance.expected_share(predicted, split.labels)
    if chance.is_above(hits, samples, share):
        return
    if not chance.is_above(samples, samples, share):
        raise ModelError(
            f"{samples} validation images are too few to tell the trained model from chance",
            "hold back more: --set data.validation_share=0.3",
        )
    raise ModelError(
        f"the trained model{output} is no better than chance: {percent(hits / samples)} of "
        f"{samples:,} "
        f"validation images are right, and {percent(share)} would be by luck",
        "check data.scale, data.offset and the order of the labels, or train longer: train.epochs",
    )


def _refuse_luck(outputs: Outputs, split: Split, signature: Signature, output: str) -> None:
    """As `refuse_chance`, for a metric that no count of images gives."""
    if is_above_luck(outputs, split, signature):
        return
    if len(split) < FEWEST:
        raise ModelError(
            f"{len(split)} validation images are too few to tell the trained model from chance",
            "hold back more: --set data.validation_share=0.3",
        )
    task = tasks.asked(signature)
    reached = task.score(task.evidence(outputs, split.labels, signature))
    raise ModelError(
        f"the trained model{output} is no better than chance: {signature.words} is "
        f"{percent(reached)} on {len(split):,} validation images, and its answers dealt to other "
        "images reach as much",
        "check data.scale, data.offset and the order of the labels, or train longer: train.epochs",
    )


def percent(share: float) -> str:
    """ "48.9 %"."""
    return f"{100 * share:.1f} %"
