"""Several outputs, each with a task of its own: targets and outputs (N,) with a field for each.

What decides is the mean over the outputs. An image counts as lost where its answers are, all in
all, worse by more than one of their tasks tolerates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.artifacts.signature import Signature
from stages.errors import DataError
from stages.numerics import fields
from stages.results.base import Quality
from stages.results.training import Classification
from stages.tasks import base
from stages.tasks.base import Difference, Outputs, Shape, Targets
from stages.tasks.registry import Output

OUTPUTS: tuple[Output, ...] = ("values",)
TOLERANCE = 1.0
WHOLE = 2.0
"""What an answer that is wrong or right counts, in tolerances: more than one."""


def fits(targets: Targets) -> bool:
    """A field for each output."""
    return bool(fields.names(targets))


def names(known: Sequence[str], targets: Targets) -> tuple[str, ...]:
    """None: each output has its own."""
    return ()


def checked(targets: Targets, names: Sequence[str], origin: str) -> Targets:
    """Raises DataError for labels of one output; of several each task checks its own."""
    if not fits(targets):
        raise DataError(
            f"{origin}: the labels are those of one output, expected a field for each of several",
            "give a dictionary: output name -> array",
        )
    return targets


def output_shapes(count: int, image_shape: Shape) -> tuple[Shape, ...]:
    """None: there is no single output."""
    return ()


def strata(targets: Targets) -> NDArray[np.int64]:
    """All images are of one kind here: stages/datasets/several.py takes those of an output."""
    return np.zeros(len(targets), np.int64)


def evidence(outputs: Outputs, targets: Targets, signature: Signature) -> Targets:
    """A field "task name" for each output, with what its task has: float64 (N,)."""
    return fields.joined(
        {
            f"{own.task} {own.output_name}": base.of(own.task).evidence(said, right, own)
            for own, said, right in split(outputs, targets, signature)
        }
    )


def score(evidence: NDArray[Any]) -> float:
    """The mean of the scores of the outputs that are judged."""
    judged = [name for name in fields.names(evidence) if not name.startswith("raw ")]
    return float(np.mean([_score(evidence, name) for name in judged])) if judged else 0.0


def _score(evidence: NDArray[Any], name: str) -> float:
    task: Any = name.partition(" ")[0]
    return base.of(task).score(evidence[name])


def loss(outputs: Outputs, targets: Targets, signature: Signature) -> float:
    """The sum of the losses of the outputs."""
    return sum(
        base.of(own.task).loss(said, right, own)
        for own, said, right in split(outputs, targets, signature)
    )


def errors(outputs: Outputs, targets: Targets, signature: Signature) -> NDArray[np.float64]:
    """The sum of the errors of the outputs, each in tolerances of its task."""
    total = np.zeros(len(targets))
    for own, said, right in split(outputs, targets, signature):
        task = base.of(own.task)
        found = task.errors(said, right, own)
        total += found / task.TOLERANCE if task.TOLERANCE else WHOLE * found
    return total


def decisions(outputs: Outputs, signature: Signature) -> NDArray[Any] | None:
    """None: there is one for each output."""
    return None


def quality(outputs: Outputs, targets: Targets, signature: Signature) -> Quality:
    """The mean over the outputs, and all metrics of each."""
    found = {
        own.output_name: base.of(own.task).quality(said, right, own)
        for own, said, right in split(outputs, targets, signature)
    }
    scores = [each.score for each in found.values() if each.score is not None]
    return Quality(
        samples=len(targets),
        metric="mean_over_outputs",
        measures={"mean_over_outputs": float(np.mean(scores))} if scores else {},
        outputs=found,
    )


def describe(outputs: Outputs, targets: Targets, signature: Signature) -> Classification | None:
    """None: there is one for each output that has classes."""
    return None


def thresholds(outputs: Outputs, targets: Targets, signature: Signature) -> tuple[float, ...]:
    """None: each output has its own."""
    return ()


def agreement(expected: Outputs, got: Outputs, signature: Signature) -> float:
    """The smallest share of equal answers of an output."""
    return min(
        base.of(own.task).agreement(one, other, own)
        for own, one, other in split(expected, got, signature)
    )


def unexplained(
    expected: Outputs, got: Outputs, difference: Difference, signature: Signature
) -> int:
    """Not of all outputs together: each has a difference of its own."""
    raise TypeError("compare the outputs one by one: Signature.each")


def split(
    outputs: Outputs, others: Targets, signature: Signature
) -> list[tuple[Signature, Outputs, Targets]]:
    """Of every output its signature, what it returns and what that is compared with."""
    parts = fields.parts(outputs), signature.labels_by_output(others)
    return list(zip(signature.each, *parts, strict=True))
