"""What an engine says of images: a type per task, each with the attributes that mean something.

classification  labels, indices, probabilities, top()
binary          labels, decisions, probabilities, threshold
multilabel      labels, decisions, probabilities, thresholds
regression      values, named
segmentation    masks, shares
raw             values
several         by_output
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.artifacts.signature import Signature
from stages.numerics import fields
from stages.tasks import segmentation, sigmoids
from stages.tasks.registry import TaskName


@dataclass(frozen=True)
class Predictions:
    """What an engine says of N images.

    outputs    float32 (N, ...), as the engine gives them; of several outputs a field for each
    signature  what they are
    """

    outputs: NDArray[np.float32]
    signature: Signature

    def __len__(self) -> int:
        return len(self.outputs)

    @property
    def kind(self) -> str:
        """Of the outputs: "logits", "probabilities" or "values"."""
        return self.signature.output

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes, the labels or the values."""
        return self.signature.class_names

    def __getattr__(self, name: str) -> Any:
        # For who takes the answers of one task for those of another.
        kind = type(self)
        task = next((task for task, each in PREDICTIONS.items() if each is kind), "no task")
        known = (each for each in [*vars(kind), *vars(Predictions)] if each[0] != "_")
        raise AttributeError(f"answers of {task} have no {name!r}, but {', '.join(known)}")


class ClassPredictions(Predictions):
    """Of classification: one class of several for each image."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Their names."""
        return self.names

    @property
    def indices(self) -> NDArray[np.int64]:
        """The most likely class of each image, (N,)."""
        best: NDArray[np.int64] = self.outputs.argmax(axis=1)
        return best

    @property
    def labels(self) -> list[str]:
        """The same by name."""
        return [self.names[index] for index in self.indices]

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """(N, classes); logits go through softmax."""
        if self.signature.returns_probabilities:
            return self.outputs
        powers = np.exp(self.outputs - self.outputs.max(axis=1, keepdims=True))
        shares: NDArray[np.float32] = powers / powers.sum(axis=1, keepdims=True)
        return shares

    def top(self, count: int = 3) -> list[list[tuple[str, float]]]:
        """The `count` most likely classes of each image with their probabilities, best first."""
        # Stable, so that of equals the first class comes first, as argmax has it.
        order = np.argsort(-self.probabilities, axis=1, kind="stable")[:, :count]
        return [
            [(self.names[index], float(shares[index])) for index in best]
            for best, shares in zip(order, self.probabilities, strict=True)
        ]


class BinaryPredictions(Predictions):
    """Yes or no for each image; the second of `names` is the yes."""

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Of a yes, (N,)."""
        return sigmoids.probabilities(self.outputs[:, 0], self.signature)

    @property
    def threshold(self) -> float:
        """The probability from which on it is a yes, chosen on validation images."""
        return sigmoids.thresholds_of(self.signature)[0]

    @property
    def decisions(self) -> NDArray[np.bool_]:
        """(N,)."""
        return self.probabilities >= self.threshold

    @property
    def labels(self) -> list[str]:
        """The same by name."""
        return [self.names[int(yes)] for yes in self.decisions]


class LabelPredictions(Predictions):
    """Of several labels: any number of them for each image."""

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """(N, labels), each by itself."""
        return sigmoids.probabilities(self.outputs, self.signature)

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Of each label the probability from which on an image has it."""
        return sigmoids.thresholds_of(self.signature)

    @property
    def decisions(self) -> NDArray[np.bool_]:
        """(N, labels)."""
        return self.probabilities >= np.asarray(self.thresholds)

    @property
    def labels(self) -> list[dict[str, float]]:
        """The labels that each image has with their probabilities, best first."""
        shares, has = self.probabilities, self.decisions
        order = np.argsort(-shares, axis=1, kind="stable")
        return [
            {self.names[index]: float(row[index]) for index in best if yes[index]}
            for best, row, yes in zip(order, shares, has, strict=True)
        ]


class ValuePredictions(Predictions):
    """Of regression: numbers for each image."""

    @property
    def values(self) -> NDArray[np.float32]:
        """(N, values), in the unit of the targets."""
        return self.outputs

    @property
    def named(self) -> list[dict[str, float]]:
        """The same by name."""
        return [dict(zip(self.names, row, strict=True)) for row in self.outputs.tolist()]


class MaskPredictions(Predictions):
    """Of segmentation: a class for each pixel, at the size that the network takes."""

    @property
    def masks(self) -> NDArray[np.uint8]:
        """The number of the class, (N, H, W)."""
        return segmentation.masks_of(self.outputs, self.signature)

    @property
    def shares(self) -> NDArray[np.float64]:
        """Of the pixels by class, (N, classes)."""
        masks = self.masks
        counts = [np.bincount(mask.ravel(), minlength=len(self.names)) for mask in masks]
        shares: NDArray[np.float64] = np.stack(counts) / masks[0].size
        return shares


class RawPredictions(Predictions):
    """Of an output that is not judged by itself, as a detector's."""

    @property
    def values(self) -> NDArray[np.float32]:
        """(N, ...), as the engine gives them."""
        return self.outputs


class SeveralPredictions(Predictions):
    """Of a network with several outputs; `outputs` (N,) has a field for each."""

    @property
    def by_output(self) -> dict[str, Predictions]:
        """What each output says, by its name."""
        pairs = zip(self.signature.each, fields.parts(self.outputs), strict=True)
        return {own.output_name: PREDICTIONS[own.task](said, own) for own, said in pairs}


PREDICTIONS: dict[TaskName, type[Predictions]] = {
    "classification": ClassPredictions,
    "binary": BinaryPredictions,
    "multilabel": LabelPredictions,
    "regression": ValuePredictions,
    "segmentation": MaskPredictions,
    "raw": RawPredictions,
    "several": SeveralPredictions,
}
