"""What a report shows beyond the records: the arrays that the benchmark left beside its own.

latency.npz   milliseconds of every call, float32 (calls,), as `<engine>.b<batch>.t<threads>`
changed.npz   some test images that the chosen engine classifies differently from the trained model
answers.npz   answers of both where they are no classes of several: kept_answers.py

Of several outputs the last two hold those of each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.results.model import Report
from stages.artifacts import archives
from stages.artifacts.archives import DAMAGED
from stages.errors import ArtifactError
from stages.measurement import kept_answers
from stages.measurement.kept_answers import KeptAnswers

CHANGED_ARRAYS = ("images", "labels", "before", "after", "indices")


@dataclass(frozen=True)
class Evidence:
    """Arrays by name; `faults` says which file could not be read. Empty where none was left.

    `outputs` has what is about each of several outputs, by its name.
    """

    latency: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    changed: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    answers: KeptAnswers | None = None
    faults: tuple[str, ...] = ()
    outputs: Mapping[str, Evidence] = field(default_factory=dict)

    def of(self, output: str) -> Evidence:
        """What is about one of several outputs; for "" all that is about none of them."""
        return self.outputs.get(output, Evidence()) if output else self


def read(report: Report, artifacts: Path | None) -> Evidence:
    """The arrays of the benchmark, none if it is older than the engines that are reported.

    A file that cannot be read is a fault and not an error: the numbers of the records stand.
    """
    if artifacts is None or not report.is_current("benchmark"):
        return Evidence()
    folder = artifacts / "benchmark"
    faults: list[str] = []
    latency = _arrays(folder / "latency.npz", faults)
    changed = {
        output: arrays
        for output, arrays in archives.by_output(_arrays(folder / "changed.npz", faults)).items()
        if set(CHANGED_ARRAYS) <= set(arrays)
    }
    answers = _answers(folder / kept_answers.FILE, faults)
    outputs = {
        output: Evidence(changed=changed.get(output, {}), answers=answers.get(output))
        for output in (*changed, *answers)
    }
    only = outputs.pop("", Evidence())
    return replace(only, latency=latency, faults=tuple(faults), outputs=outputs)


def _arrays(file: Path, faults: list[str]) -> dict[str, NDArray[Any]]:
    try:
        return load(file) if file.exists() else {}
    except ArtifactError as error:
        faults.append(_fault(file, error))
        return {}


def _answers(file: Path, faults: list[str]) -> dict[str, KeptAnswers]:
    try:
        return kept_answers.read(_arrays(file, faults))
    except ArtifactError as error:
        faults.append(_fault(file, error))
        return {}


def _fault(file: Path, error: ArtifactError) -> str:
    return (
        f"{file.name} of the benchmark cannot be read ({error.message}), so its figures are "
        "missing. Run: pipeline run benchmark --force"
    )


def load(file: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an archive of NumPy by name. Raises ArtifactError for anything else."""
    try:
        # np.load leaves a broken archive open if it has opened it itself.
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except DAMAGED as error:
        raise ArtifactError(str(error)) from error
