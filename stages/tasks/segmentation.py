"""A class for each pixel: targets uint8 (N, H, W), outputs (N, H, W, classes), or (N, H, W, 1).

One channel is that of the second of two classes, a logit or a sigmoid's. Pixels of the class 255
are not judged, as in Pascal VOC and Cityscapes.

Outputs may also be masks already, uint8 (N, H, W): all but `loss` and `unexplained` need no more,
and outputs of many images fill the memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.artifacts.signature import Signature
from stages.errors import DataError
from stages.numerics import classification, fields
from stages.numerics.classification import MAX_CONFUSION_CLASSES
from stages.results.base import Quality
from stages.results.training import Classification
from stages.tasks.base import Difference, Outputs, Shape, Targets
from stages.tasks.registry import Output
from stages.tasks.sigmoids import changed_sides, cross_entropies, probabilities, thresholds_of

OUTPUTS: tuple[Output, ...] = ("logits", "probabilities")
TOLERANCE = 0.01
UNJUDGED = 255
MOST_CLASSES = 255
Counts = NDArray[np.integer[Any]]
"""Of pixels."""


def fits(targets: Targets) -> bool:
    """Integers, one for each pixel."""
    is_mask = targets.ndim == 3 or (targets.ndim == 4 and targets.shape[3] == 1)
    return is_mask and np.issubdtype(targets.dtype, np.integer)


def names(known: Sequence[str], targets: Targets) -> tuple[str, ...]:
    """Those of the classes, or a number for each up to the highest."""
    highest = max(
        (number for number in numbers_in(targets).tolist() if number != UNJUDGED), default=0
    )
    # What is above is refused by `checked`, without a name for each of a million.
    return tuple(known) or tuple(map(str, range(min(max(highest, 1) + 1, MOST_CLASSES))))


def checked(targets: Targets, names: Sequence[str], origin: str) -> NDArray[np.uint8]:
    """Class numbers uint8 (N, H, W), of integers (N, H, W) or (N, H, W, 1). Raises DataError."""
    masks = targets[..., 0] if targets.ndim == 4 and targets.shape[3] == 1 else targets
    if masks.ndim != 3 or not (np.issubdtype(masks.dtype, np.integer) or masks.dtype == np.bool_):
        raise DataError(
            f"{origin}: the masks are {targets.dtype} {targets.shape}, expected a class number for "
            "each pixel, integers (N, height, width)",
            "turn one-hot masks into numbers: masks.argmax(axis=-1)",
        )
    if len(names) > MOST_CLASSES:
        raise DataError(
            f"{origin}: there are {len(names)} classes, expected at most {MOST_CLASSES} in masks",
            "join classes that are rare",
        )
    found = numbers_in(masks)
    odd = found[((found < 0) | (found >= len(names))) & (found != UNJUDGED)]
    if odd.size:
        first = int((masks == odd[-1]).any(axis=(1, 2)).argmax())
        raise DataError(
            f"{origin}: a pixel of mask {first + 1} of {len(masks)} is {odd[-1]}, expected class "
            f"numbers from 0 to {len(names) - 1}, or {UNJUDGED} for one that is not judged",
            "number the classes from 0 without gaps",
        )
    return masks.astype(np.uint8)


def output_shapes(count: int, image_shape: Shape) -> tuple[Shape, ...]:
    """Values per pixel of the image."""
    size = image_shape[:-1]
    return ((*size, count), *([(*size, 1)] if count == 2 else []))


def strata(targets: Targets) -> NDArray[np.int64]:
    """The rarest class in each image: rare ones are in every split."""
    there = _there(targets)
    there[:, UNJUDGED] = False
    counts = there.sum(axis=0)
    order = np.argsort(counts, kind="stable")[np.count_nonzero(counts == 0) :]
    ranked = there[:, order] if order.size else there[:, :1]
    return np.asarray(ranked.argmax(axis=1), np.int64)


def numbers_in(masks: Targets) -> NDArray[Any]:
    """The numbers that occur in masks (N, ...), ascending."""
    return (
        np.flatnonzero(_there(masks).any(axis=0)) if masks.dtype == np.uint8 else np.unique(masks)
    )


def _there(masks: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which numbers occur in each mask (N, ...): (N, 256). Sorting them all would take longer."""
    found = np.empty((len(masks), 256), np.bool_)
    for row, mask in zip(found, masks, strict=True):
        row[:] = np.bincount(mask.reshape(-1), minlength=256) > 0
    return found


def judged(outputs: Targets, signature: Signature) -> Targets:
    """What of the outputs (N, ...) of a network of any task has to be kept to judge them."""
    if signature.heads and not signature.metric:
        pairs = zip(signature.each, fields.parts(outputs), strict=True)
        return signature.joined([judged(said, own) for own, said in pairs])
    return masks_of(outputs, signature) if is_judged_by_masks(signature) else outputs


def is_judged_by_masks(signature: Signature) -> bool:
    """Whether masks say all that is asked, where a metric of the user's wants the outputs."""
    return signature.task == "segmentation" and not signature.metric


def evidence(outputs: Outputs, targets: Targets, signature: Signature) -> NDArray[np.uint32]:
    """Each image's confusion matrix, [truth][answer] in pixels, as a row: (N, classes ** 2)."""
    return confusions(masks_of(outputs, signature), targets, len(signature.class_names))


def confusions(predicted: NDArray[np.uint8], targets: Targets, count: int) -> NDArray[np.uint32]:
    """[truth][answer] in pixels of masks (N, H, W), a row for each image: (N, count ** 2)."""
    found = np.empty((len(targets), count**2), np.uint32)
    for row, (answer, truth) in enumerate(zip(predicted, targets, strict=True)):
        judged = truth != UNJUDGED
        pairs = truth[judged].astype(np.int64) * count + answer[judged]
        found[row] = np.bincount(pairs, minlength=count**2)
    return found


def score(evidence: Counts) -> float:
    """Mean IoU: the mean over the classes that are there or were answered, over all pixels."""
    hits, union = _parts(evidence.sum(axis=0)[None])
    return float(np.mean(hits[union > 0] / union[union > 0])) if union.any() else 0.0


def _parts(rows: Counts) -> tuple[Counts, Counts]:
    """Pixels in which class and answer meet, and those of either: (N, classes) each."""
    count = round(rows.shape[1] ** 0.5)
    tables = rows.reshape(-1, count, count)
    hits = np.diagonal(tables, axis1=1, axis2=2)
    return hits, tables.sum(axis=1) + tables.sum(axis=2) - hits


def loss(outputs: Outputs, targets: Targets, signature: Signature) -> float:
    """Mean cross-entropy of the judged pixels, in nats."""
    return mean_loss(losses(outputs, targets, signature))


def losses(outputs: Outputs, targets: Targets, signature: Signature) -> NDArray[np.float64]:
    """Of each image the sum of the cross-entropies of judged pixels, and their number: (N, 2)."""
    found = np.zeros((len(outputs), 2))
    for row, said, truth in zip(found, outputs, targets, strict=True):
        there = truth != UNJUDGED
        row[:] = _cross_entropies(said[there], truth[there], signature).sum(), there.sum()
    return found


def mean_loss(losses: NDArray[np.float64]) -> float:
    """That of all pixels of these images, the same whatever batches the rows (N, 2) came in."""
    return math.fsum(losses[:, 0]) / max(math.fsum(losses[:, 1]), 1.0)


def _cross_entropies(
    outputs: Outputs, targets: Targets, signature: Signature
) -> NDArray[np.float64]:
    if outputs.shape[-1] == 1:
        return cross_entropies(outputs, targets[:, None], signature)
    from_logits = not signature.returns_probabilities
    return classification.cross_entropies(outputs, targets, from_logits=from_logits)


def errors(outputs: Outputs, targets: Targets, signature: Signature) -> NDArray[np.float64]:
    """1 - mean IoU of each image's own classes; 0 where no pixel is judged."""
    return 1 - own_mean_ious(evidence(outputs, targets, signature))


def own_mean_ious(evidence: Counts) -> NDArray[np.float64]:
    """The mean IoU of each row (N, classes ** 2), over its own classes: (N,), 1 without any."""
    hits, union = _parts(evidence)
    shares = np.where(union > 0, hits / np.maximum(union, 1), 0.0).sum(axis=1)
    there = (union > 0).sum(axis=1)
    return np.asarray(np.where(there > 0, shares / np.maximum(there, 1), 1.0), np.float64)


def decisions(outputs: Outputs, signature: Signature) -> NDArray[Any] | None:
    """None: there is one for each pixel."""
    return None


def quality(outputs: Outputs, targets: Targets, signature: Signature) -> Quality:
    """Mean IoU and the share of right pixels."""
    rows = evidence(outputs, targets, signature)
    hits, _ = _parts(rows)
    return Quality(
        samples=len(targets),
        metric="mean_iou",
        measures={
            "mean_iou": score(rows),
            "pixel_accuracy": float(hits.sum() / max(rows.sum(), 1.0)),
        },
    )


def describe(outputs: Outputs, targets: Targets, signature: Signature) -> Classification | None:
    """Scores of every class and who is taken for whom, in pixels."""
    count = len(signature.class_names)
    total = evidence(outputs, targets, signature).sum(axis=0).reshape(count, count)
    return Classification(
        classes=signature.class_names,
        per_class=classification.class_scores(
            np.diagonal(total), total.sum(axis=0), total.sum(axis=1)
        ),
        confusion=tuple(tuple(int(each) for each in row) for row in total.tolist())
        if count <= MAX_CONFUSION_CLASSES
        else (),
    )


def thresholds(outputs: Outputs, targets: Targets, signature: Signature) -> tuple[float, ...]:
    """Of one channel the middle: mean IoU is judged there."""
    return (0.5,) if signature.shape_of_output[-1] == 1 else ()


def masks_of(outputs: Targets, signature: Signature) -> NDArray[np.uint8]:
    """The class of each pixel: (N, H, W, classes or 1), or masks already -> uint8 (N, H, W)."""
    if outputs.ndim == 3:
        return outputs
    masks = np.empty(outputs.shape[:-1], np.uint8)
    for mask, said in zip(masks, outputs, strict=True):  # wide numbers are held of one image only
        if said.shape[-1] > 1:
            mask[:] = said.argmax(axis=-1)
        else:
            mask[:] = probabilities(said[..., 0], signature) >= thresholds_of(signature)[0]
    return masks


def agreement(expected: Outputs, got: Outputs, signature: Signature) -> float:
    """Share of pixels with the same class."""
    return float(np.mean(masks_of(expected, signature) == masks_of(got, signature)))


def unexplained(
    expected: Outputs, got: Outputs, difference: Difference, signature: Signature
) -> int:
    """Images with a pixel of another class although its values could not have passed each other."""
    if expected.shape[-1] == 1:
        moved = changed_sides(expected, got, difference, signature)
    else:
        second, first = np.moveaxis(np.sort(expected, axis=-1)[..., -2:], -1, 0)
        changed = expected.argmax(axis=-1) != got.argmax(axis=-1)
        moved = ~np.isfinite(got).all(axis=-1) | (
            changed & (first - second > 2 * np.max(difference))
        )
    return int(moved.reshape(len(moved), -1).any(axis=1).sum())
