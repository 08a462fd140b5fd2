"""Answers of the trained model and of the chosen engine, for the figures of a report.

answers.npz     of other tasks than classification:
                    task     str ()
                    engine   str ()       the chosen one, as in "litert.int8"
                    names    str (K,)     of the classes, labels or values
                    indices  int64 (M,)   places in the test split
                    targets, before, after
                             what is right, and the answers of the trained model and of the engine:
                             float32 (M, K), of a yes or no (M, 1), as the network returns them;
                             masks uint8 (M, H, W)
                    limits_before, limits_after
                         float64 (K,) of yes and no: an answer of at least that is a yes; the
                         trained model and the engine have thresholds of their own
                    images   uint8 (M, H, W, C)   beside masks; of several inputs those of one

Of masks the images whose error grew most, then those with the worst answers.
Of several outputs every one of such a task has them, as "OUTPUT/task", "OUTPUT/engine" and so on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.artifacts import archives
from stages.artifacts.signature import Signature
from stages.datasets.base import Split
from stages.engines.registry import ENGINES, PRECISION_LABELS, EngineName
from stages.errors import ArtifactError
from stages.measurement import shown_images
from stages.tasks import base as tasks
from stages.tasks import segmentation
from stages.tasks.base import Answers, Outputs
from stages.tasks.registry import TASKS, TaskName
from stages.tasks.sigmoids import limits_of

FILE = "answers.npz"
MOST_IMAGES = 2000
"""Where answers are numbers: a curve through more looks the same."""
MOST_MASKS = 6


@dataclass(frozen=True, eq=False)
class KeptAnswers:
    """What answers.npz holds: see above; without limits and `images` where there are none."""

    task: TaskName
    engine: str
    names: tuple[str, ...]
    indices: NDArray[np.int64]
    targets: NDArray[Any]
    before: NDArray[Any]
    after: NDArray[Any]
    limits_before: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    limits_after: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    images: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 0, 0, 0), np.uint8))

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """What `of` reads."""
        return {each.name: np.asarray(getattr(self, each.name)) for each in fields(self)}

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> KeptAnswers:
        """Of the arrays of one output. Raises ArtifactError where they are none."""
        lacking = [each.name for each in fields(cls) if each.name not in arrays]
        if lacking:
            raise ArtifactError(f"it has no array {lacking[0]!r}")
        words = {name: str(arrays[name]) for name in ("task", "engine")}
        found = cls(**{**arrays, **words, "names": tuple(map(str, arrays["names"]))})  # type: ignore[arg-type]
        found._check()
        return found

    def _check(self) -> None:
        """Raise ArtifactError where the arrays are not those of one task and its images."""
        if self.task not in TASKS or self.task == "classification":
            raise ArtifactError(f"its task is {self.task!r}")
        engine = EngineName.parse(self.engine)
        if engine.backend not in ENGINES or engine.precision not in PRECISION_LABELS:
            raise ArtifactError(f"its engine is {self.engine!r}")
        if self.task == "segmentation":
            shape = (*self.images.shape[:3],)
        else:
            shape = (len(self), 1 if self.task == "binary" else len(self.names))
        each_yes = shape[1] if self.task in ("binary", "multilabel") else 0
        for name in ("targets", "before", "after"):
            if getattr(self, name).shape != shape:
                raise ArtifactError(f"{name} is {getattr(self, name).shape}, expected {shape}")
        if not len(self) or len(self) != shape[0]:
            raise ArtifactError(f"it has {len(self)} indices, expected {shape[0] or 'some'}")
        for name in ("limits_before", "limits_after"):
            if getattr(self, name).shape != (each_yes,):
                raise ArtifactError(
                    f"{name} is {getattr(self, name).shape}, expected ({each_yes},)"
                )
        if self.task == "segmentation":
            numbers = {*range(len(self.names)), segmentation.UNJUDGED}
            if not {*np.unique([self.targets, self.before, self.after]).tolist()} <= numbers:
                raise ArtifactError("a pixel of a mask is of no class")


def write(out: Path, kept: Mapping[str, KeptAnswers]) -> None:
    """Write answers.npz into the folder `out`, by output, "" of the only one; none without any."""
    arrays = archives.of_outputs({output: each.arrays for output, each in kept.items()})
    if arrays:
        np.savez_compressed(out / FILE, **arrays)  # type: ignore[arg-type]


def read(arrays: Mapping[str, NDArray[Any]]) -> dict[str, KeptAnswers]:
    """By output, of the arrays of an answers.npz. Raises ArtifactError where they are none."""
    found = archives.by_output(arrays)
    return {output: KeptAnswers.of(own) for output, own in found.items()}


def of_values(before: Answers, after: Answers, engine: str, signature: Signature) -> KeptAnswers:
    """The answers of the trained model, `before`, and of `engine`, where they are numbers.

    Of many images some, drawn without regard to their order: a folder is sorted by class.
    """
    count = len(before)
    drawn = np.random.default_rng(0).choice(count, min(count, MOST_IMAGES), replace=False)
    shown = np.sort(drawn).astype(np.int64)
    said, targets = np.split(before.evidence[shown].astype(np.float32), 2, axis=1)
    says_now, _ = np.split(after.evidence[shown].astype(np.float32), 2, axis=1)
    has_limits = before.task in ("binary", "multilabel")
    none, names = np.zeros(0), signature.class_names
    limits_before = limits_of(signature.of_trained) if has_limits else none
    limits_after = limits_of(signature) if has_limits else none
    return KeptAnswers(
        before.task, engine, names, shown, targets, said, says_now, limits_before, limits_after
    )


def worst_masks(before: Answers, after: Answers) -> NDArray[np.int64]:
    """Places of the images that were lost, by how much, then of the worst ones: (M,)."""
    growth = after.errors - before.errors
    lost = np.where(growth > tasks.of(before.task).TOLERANCE, growth, 0.0)
    return np.lexsort((-after.errors, -lost))[:MOST_MASKS].astype(np.int64)


def of_masks(
    test: Split,
    shown: NDArray[np.int64],
    before: Outputs,
    after: Outputs,
    engine: str,
    signature: Signature,
) -> KeptAnswers:
    """The outputs (M, ...) of the trained model and of `engine` for the images at `shown` (M,)."""
    beside = shown_images.found(signature, test.labels.shape[1:])
    return KeptAnswers(
        "segmentation",
        engine,
        signature.class_names,
        shown,
        test.labels[shown],
        segmentation.masks_of(before, signature),
        segmentation.masks_of(after, signature),
        images=shown_images.pixels(test.images[shown], beside),
    )
