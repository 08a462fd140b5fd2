"""Whether a network knows more than luck explains, whatever its task is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stages.artifacts.signature import Signature
from stages.datasets.base import Split
from stages.numerics import bootstrap, chance
from stages.tasks import base as tasks
from stages.tasks.base import Outputs

MOST_IMAGES, MOST_MASKS = 2048, 64
"""Each pixel of a mask is an answer, and each is dealt out anew hundreds of times."""
FEWEST = 5
"""The right order of fewer answers is too likely by chance: 1 in 24 of four."""


def sampled(split: Split) -> NDArray[np.int64]:
    """The places of as many images as such a question needs, of every stratum in proportion."""
    return split.sampled(MOST_IMAGES if split.labels.ndim < 3 else MOST_MASKS)


def is_above_luck(outputs: Outputs, split: Split, signature: Signature) -> bool:
    """Whether outputs (N, ...) for the images are better than luck, with 95 % confidence.

    Of classes by counts (numerics/chance.py), else by dealing the answers to other images.
    """
    task = tasks.of(signature.task)
    if signature.task == "classification":
        predicted = outputs.argmax(axis=1)
        share = chance.expected_share(predicted, split.labels)
        return chance.is_above(int(np.sum(predicted == split.labels)), len(split), share)

    def rows_of(order: NDArray[np.int64]) -> NDArray[np.float64]:
        return task.evidence(outputs[order], split.labels, signature)

    return bootstrap.is_above_luck(task.score, rows_of, len(split))
