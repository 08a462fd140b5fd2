"""What a task is: what its targets and outputs look like, and how its answers are judged.

A module of this package is a task if it has these functions and constants; the table in
`stages/tasks/registry.py` lists them. Its loss is in `stages/training/losses.py`, because machines
that only run engines have no TensorFlow.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from stages.artifacts.signature import Signature
from stages.errors import ModelError
from stages.numerics import bootstrap
from stages.numerics.proportions import Interval
from stages.results.base import Quality
from stages.results.training import Classification
from stages.tasks.registry import TASKS, Output, TaskName

Outputs = NDArray[np.float32]
"""(N, ...): of every image what the network returns."""
Targets = NDArray[Any]
"""(N, ...): of every image what is right."""
Shape = tuple[int, ...]
Difference = NDArray[np.float64] | float
"""(values,): how far rounding may move each value of an output; or all of them."""
FEW_DRAWS = 100
"""Where an interval of a user's metric is asked for, which may take seconds."""


class Task(Protocol):
    """The contract above, as a type."""

    OUTPUTS: tuple[Output, ...]
    """What an output may be."""
    TOLERANCE: float
    """By how much the error of an image must grow for it to be lost."""

    def fits(self, targets: Targets) -> bool:
        """Whether targets from outside, of any dtype and shape, may be of this task."""

    def names(self, known: Sequence[str], targets: Targets) -> tuple[str, ...]:
        """Of classes, labels or values: `known` ones where they fit the targets from outside."""

    def checked(self, targets: Targets, names: Sequence[str], origin: str) -> Targets:
        """The targets in the dtype and shape of this task. Raises DataError for unfit ones."""

    def output_shapes(self, count: int, image_shape: Shape) -> tuple[Shape, ...]:
        """What a network may return for one image, with so many names; ours return the first."""

    def strata(self, targets: Targets) -> NDArray[np.int64]:
        """A number from 0 for each image (N,): every split gets its share of each."""

    def evidence(self, outputs: Outputs, targets: Targets, signature: Signature) -> Targets:
        """What each image adds to the metric: (N, K)."""

    def score(self, evidence: NDArray[np.float64]) -> float:
        """The metric that decides, of the images of these rows: at most 1, higher is better."""

    def loss(self, outputs: Outputs, targets: Targets, signature: Signature) -> float:
        """What training minimises, on average; it decides between equal scores."""

    def errors(self, outputs: Outputs, targets: Targets, signature: Signature) -> Targets:
        """How wrong each answer is: float64 (N,), 0 for a right one."""

    def decisions(self, outputs: Outputs, signature: Signature) -> NDArray[Any] | None:
        """What each answer says in whole: (N,), or None where answers are numbers."""

    def quality(self, outputs: Outputs, targets: Targets, signature: Signature) -> Quality:
        """All metrics."""

    def describe(
        self, outputs: Outputs, targets: Targets, signature: Signature
    ) -> Classification | None:
        """Scores of every class, or None where there are none."""

    def thresholds(
        self, outputs: Outputs, targets: Targets, signature: Signature
    ) -> tuple[float, ...]:
        """Where answers turn from no to yes, chosen on these images; () where nothing does."""

    def agreement(self, expected: Outputs, got: Outputs, signature: Signature) -> float:
        """Share of equal answers."""

    def unexplained(
        self, expected: Outputs, got: Outputs, difference: Difference, signature: Signature
    ) -> int:
        """Images whose answer has changed although none of its values moved by more than its
        `difference`."""


def of(name: TaskName) -> Task:
    """The module of a task."""
    return cast(Task, importlib.import_module(TASKS[name]))


def asked(signature: Signature) -> Task:
    """The task of a network, judged by the metric of the user's if there is one."""
    task = of(signature.task)
    if not signature.metric:
        return task
    from stages.tasks.own import Own  # which needs Task, as all of these do

    return cast(Task, Own(signature.metric, signature.higher_is_better, task))


@dataclass(frozen=True, eq=False)
class Answers:
    """What a network said of N images, as far as it is judged by that.

    evidence float64 (N, K), errors float64 (N,), decisions (N,) or None: see Task.
    """

    signature: Signature
    evidence: NDArray[Any]
    errors: NDArray[np.float64]
    decisions: NDArray[Any] | None
    score: float

    def __len__(self) -> int:
        return len(self.errors)

    @property
    def task(self) -> TaskName:
        """Of the network."""
        return self.signature.task

    @classmethod
    def of(cls, outputs: Outputs, targets: Targets, signature: Signature) -> Answers:
        """Of the outputs (N, ...) for images with these targets (N, ...)."""
        task = asked(signature)
        evidence = task.evidence(outputs, targets, signature)
        return cls(
            signature,
            evidence,
            task.errors(outputs, targets, signature),
            task.decisions(outputs, signature),
            task.score(evidence),
        )

    def change_to(self, after: Answers) -> Interval | None:
        """What the metric gains to `after`, of the same images, by a paired bootstrap.

        None where images are counted, which has a closed form.
        """
        if self.signature.counts_images:
            return None
        return bootstrap.change(self._scores, after._scores)

    @cached_property
    def _scores(self) -> bootstrap.Scores:
        """Once, as several engines are compared with the same answers."""
        task = asked(self.signature)
        if not self.signature.metric:
            return bootstrap.scores(task.score, self.evidence)

        def score(evidence: NDArray[Any]) -> float:
            try:
                return task.score(evidence)
            except ModelError:  # of images drawn that have one class only, for instance
                return float("nan")

        return bootstrap.scores(score, self.evidence, draws=FEW_DRAWS)
