"""Whether a network knows more than luck explains, whatever its task is."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.artifacts.signature import Signature
from stages.datasets.base import Split
from stages.datasets.several import of
from stages.numerics import bootstrap, chance, fields
from stages.tasks import base as tasks
from stages.tasks.base import Outputs
from stages.tasks.segmentation import judged

MOST_IMAGES, MOST_MASKS = 2048, 64
"""Each pixel of a mask is an answer, and each is dealt out anew hundreds of times."""
DEALS, FEW_DEALS = 200, 39
"""How often answers are dealt; a metric of the user's may take seconds."""
FEWEST = 5
"""The right order of fewer answers is too likely by chance: 1 in 24 of four."""


def sampled(split: Split) -> NDArray[np.int64]:
    """The places of as many images as such a question needs, of every stratum in proportion."""
    has_masks = any(each.ndim > 2 for each in fields.parts(split.labels))
    return split.sampled(MOST_MASKS if has_masks else MOST_IMAGES)


def is_above_luck(outputs: Outputs, split: Split, signature: Signature) -> bool:
    """Whether outputs (N, ...) for the images are better than luck, with 95 % confidence, each.

    Of classes by counts (numerics/chance.py), else by dealing the answers to other images.
    """
    if signature.heads and not signature.metric:
        pairs = zip(signature.each, fields.parts(outputs), strict=True)
        return all(is_above_luck(said, of(split, own.output_name), own) for own, said in pairs)
    task = tasks.asked(signature)
    if signature.counts_images:
        predicted = outputs.argmax(axis=1)
        share = chance.expected_share(predicted, split.labels)
        return chance.is_above(int(np.sum(predicted == split.labels)), len(split), share)

    answers = judged(outputs, signature)

    def rows_of(order: NDArray[np.int64]) -> NDArray[Any]:
        return task.evidence(answers[order], split.labels, signature)

    deals = FEW_DEALS if signature.metric else DEALS
    return bootstrap.is_above_luck(task.score, rows_of, len(split), deals=deals)
