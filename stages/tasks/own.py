"""A metric of the user's, which decides in place of that of the task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.artifacts.signature import Signature
from stages.errors import ModelError
from stages.numerics import fields
from stages.results.base import Quality
from stages.settings.modules import function_of
from stages.tasks.base import Outputs, Targets, Task
from stages.tasks.registry import own_metric

ROUNDING = 1e-6
EXPECTED = "it is called with targets and outputs, and returns a number, or one for each image"


@dataclass(frozen=True)
class Own:
    """`task` with another metric: `metric` is module:function, see `quality.metric`."""

    metric: str
    higher_is_better: bool
    task: Task

    def __getattr__(self, name: str) -> Any:
        """All else is as the task has it."""
        return getattr(self.task, name)

    def evidence(self, outputs: Outputs, targets: Targets, signature: Signature) -> Targets:
        """What the metric says of each image, (N, 1), if it does; else all that it is asked with:
        (N,) with the fields "targets" and "outputs"."""
        said = self._said(targets, outputs)
        if said.ndim == 0:
            return fields.joined({"targets": targets, "outputs": outputs})
        return said[:, None]

    def score(self, evidence: NDArray[Any]) -> float:
        """What the metric says of these images, or 1 minus that where lower is better.

        Raises ModelError where it fails, or says no finite number.
        """
        if not fields.names(evidence):
            return float(evidence.mean())
        return float(self._said(evidence["targets"], evidence["outputs"]))

    def _said(self, targets: Targets, outputs: Outputs) -> NDArray[np.float64]:
        """One number (), or one for each image (N,)."""
        function = function_of("quality.metric", self.metric, ModelError)
        try:
            said = np.asarray(function(_given(targets), _given(outputs)), np.float64)
        except Exception as error:
            raise ModelError(
                f"quality.metric {self.metric!r} raised {type(error).__name__}: "
                f"{' '.join(str(error).split())[:200]}",
                f"{EXPECTED}; the traceback is in the stage's log",
            ) from error
        if said.shape not in ((), (len(outputs),)) or not np.isfinite(said).all():
            shown = f"{said}" if said.ndim == 0 else f"an array {said.shape}"
            raise ModelError(
                f"quality.metric {self.metric!r} is {shown} of {len(outputs)} images, expected "
                "finite numbers",
                EXPECTED,
            )
        if self.higher_is_better and (said > 1 + ROUNDING).any():
            raise self._refused(f"{said.max():g}, expected at most 1")
        if not self.higher_is_better and (said < -ROUNDING).any():
            raise self._refused(f"{said.min():g}, expected at least 0 where lower is better")
        return np.minimum(said if self.higher_is_better else 1 - said, 1.0)

    def _refused(self, what: str) -> ModelError:
        return ModelError(
            f"quality.metric {self.metric!r} says {what}: a point is 0.01 of it everywhere",
            "return a share, as 0.93 for 93 %",
        )

    def quality(self, outputs: Outputs, targets: Targets, signature: Signature) -> Quality:
        """The metric, beside those of the task."""
        found = self.task.quality(outputs, targets, signature)
        value = self.score(self.evidence(outputs, targets, signature))
        key = own_metric(self.metric, self.higher_is_better)
        measures = {**(found.measures or {}), key: value}
        return found.model_copy(update={"metric": key, "measures": measures})


def _given(array: NDArray[Any]) -> Any:
    """Of several outputs a dictionary, without those that have no targets.

    Nothing can be written to: what is judged is compared and kept afterwards.
    """
    if not fields.names(array):
        return _read_only(array)
    pairs = zip(fields.names(array), fields.parts(array), strict=True)
    return {name: _read_only(each) for name, each in pairs if 0 not in each.shape[1:]}


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    found = array.view()
    found.flags.writeable = False
    return found
