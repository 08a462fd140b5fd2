"""How well scores rank what is there above what is not, and where to draw the line."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.floating[Any]]
Truth = NDArray[Any]


def roc_auc(scores: Scores, truth: Truth) -> float:
    """Probability that a positive sample (truth 1) scores higher than a negative one, ties half.

    scores (N,), truth (N,). The Mann-Whitney statistic: Hanley and McNeil, 'The Meaning and Use of
    the Area under a ROC Curve', Radiology 143 (1982). 0.5 where one of the two is absent.

    Example: scores 0.1 0.4 0.35 0.8, truth 0 0 1 1: 3 of 4 pairs, 0.75.
    """
    positive = truth > 0.5
    count, others = int(positive.sum()), int((~positive).sum())
    if not count or not others:
        return 0.5
    _, place, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    # Ties share the mean of their ranks.
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[place]
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * others))


def average_precision(scores: Scores, truth: Truth) -> float:
    """Mean precision over the positive samples, from the highest score down: (N,) twice.

    Of equal scores all are taken at once. scikit-learn's `average_precision_score`; 0 without a
    positive sample.

    Example: scores 0.1 0.4 0.35 0.8, truth 0 0 1 1: (1/1 + 2/3) / 2 = 0.833.
    """
    if not truth.any():
        return 0.0
    precision, recall = precision_and_recall(scores, truth)
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def precision_and_recall(
    scores: Scores, truth: Truth
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of a yes from each different score on, from the highest down: (M,) each, recall ends at 1.

    scores (N,), truth (N,) with at least one positive sample. scikit-learn's
    `precision_recall_curve`, the other way round, without the point that it adds, and up to the
    lowest score.

    Example: scores 0.1 0.4 0.35 0.8, truth 0 0 1 1: precision 1, 1/2, 2/3, 1/2 at recall 1/2, 1/2,
    1, 1.
    """
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    found = np.cumsum(truth[order], dtype=np.float64)[last]
    return found / (last + 1), found / found[-1]


def f1(predicted: Truth, truth: Truth) -> float:
    """2 hits / (predicted + there): yes and no (N,) twice; 0 / 0 counts as 0."""
    hits = float(np.sum((predicted > 0.5) & (truth > 0.5)))
    return 2 * hits / max(float(np.sum(predicted > 0.5) + np.sum(truth > 0.5)), 1.0)


def best_threshold(scores: Scores, truth: Truth) -> float:
    """The threshold with the highest F1, in the middle between two scores: (N,) twice.

    A score of at least the threshold is a yes. Of equally good ones that which is nearest to 0.5;
    0.5 itself where nothing is positive, or all of it.
    """
    if truth.min() == truth.max():
        return 0.5
    values = np.unique(scores.astype(np.float64))
    middles = (values[1:] + values[:-1]) / 2
    if not len(middles):
        return 0.5
    order = np.sort(scores.astype(np.float64))
    there = np.sort(scores[truth > 0.5].astype(np.float64))
    predicted = len(order) - np.searchsorted(order, middles)
    hits = len(there) - np.searchsorted(there, middles)
    quality = 2 * hits / (predicted + len(there))
    best = middles[quality >= quality.max() - 1e-12]
    return float(best[np.argmin(np.abs(best - 0.5))])
