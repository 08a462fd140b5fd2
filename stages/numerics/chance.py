"""Whether a classifier knows more than luck explains."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from stages.numerics.proportions import CONFIDENCE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Labels = NDArray[np.integer[Any]]


def expected_share(predicted: Labels, labels: Labels) -> float:
    """Share of hits if the predictions (N,) were dealt to the images, with labels (N,), at random.

    Cohen, "A Coefficient of Agreement for Nominal Scales", Educational and Psychological
    Measurement 20 (1960): the agreement by chance. One class for all images gives that class's
    share, so that a majority is no merit; all of C equal classes alike give 1 / C.
    """
    import numpy as np  # `is_above` needs none, and the verdict of a run with nothing to do neither

    classes = 1 + max(int(predicted.max()), int(labels.max()))
    counts = (np.bincount(each, minlength=classes) for each in (predicted, labels))
    given, true = (count / len(labels) for count in counts)
    return float(given @ true)


def is_above(hits: int, samples: int, share: float, confidence: float = CONFIDENCE) -> bool:
    """Whether `hits` of `samples` are more than a probability of `share` explains.

    One-sided exact binomial test: P(X >= hits) is at most 1 - `confidence`. A share of 0 or 1 is
    above respectively below any number of hits but none.
    """
    if not 0 < share < 1:
        return share <= 0 < hits
    logs = (math.log(share), math.log1p(-share))
    tail = math.fsum(
        math.exp(
            math.lgamma(samples + 1)
            - math.lgamma(each + 1)
            - math.lgamma(samples - each + 1)
            + each * logs[0]
            + (samples - each) * logs[1]
        )
        for each in range(hits, samples + 1)
    )
    return tail <= 1 - confidence
