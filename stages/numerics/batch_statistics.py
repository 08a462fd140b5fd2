"""Statistics of all images from those of their batches. Pure numpy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


def pooled_moments(
    counts: Sequence[int], means: Sequence[Values], variances: Sequence[Values]
) -> tuple[Values, Values]:
    """Mean and variance (C,) of all values, from size, mean (C,) and variance (C,) of each batch.

    The mean of the second moments less the square of the mean: Wu and Johnson, 'Rethinking
    "Batch" in BatchNorm', 2021, section 3. Raises ValueError without a batch.

    Example: 2 values with mean 1 and 2 with mean 3, both with variance 0: mean 2, variance 1.
    """
    if not len(counts) == len(means) == len(variances) > 0:
        raise ValueError(
            f"got {len(counts)} counts, {len(means)} means, {len(variances)} variances"
        )
    shares = np.asarray(counts, np.float64)[:, None] / np.sum(counts)
    each = np.asarray(means, np.float64)
    mean: Values = (shares * each).sum(axis=0)
    # Around the common mean: less is lost to rounding than with the square of a large mean.
    variance: Values = (shares * (np.asarray(variances) + np.square(each - mean))).sum(axis=0)
    return mean, variance
