"""What a report shows of the answers of the trained model and of the chosen engine: changed.npz
(prediction_diff.py) and answers.npz (kept_answers.py), of each of several outputs the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages import progress
from stages.datasets.base import Split
from stages.datasets.several import of
from stages.errors import EngineError
from stages.measurement import kept_answers, prediction_diff, shown_images
from stages.measurement.benchmarked_engine import BenchmarkedEngine, outputs_again
from stages.measurement.kept_answers import KeptAnswers
from stages.results.engines import ShownImages
from stages.settings import BenchmarkStage
from stages.tasks.base import Answers

Ask = Callable[[NDArray[Any]], list[NDArray[Any]]]
"""Of a few test images (M, ...) the outputs (M, ...) of the trained model and of the engine."""


@dataclass(frozen=True)
class Shown:
    """Of one output: which images, and what the two files hold."""

    images: ShownImages | None = None
    answers: KeptAnswers | None = None
    changed: Mapping[str, NDArray[Any]] = field(default_factory=dict)


def keep(
    baseline: BenchmarkedEngine,
    best: BenchmarkedEngine,
    test: Split,
    source: Path,
    settings: BenchmarkStage,
    out: Path,
) -> dict[str, ShownImages | None]:
    """Write both files into `out`; which images they show, by output.

    `best` is the chosen engine. It and the baseline are in the folder `source`, and have answered
    for the test images.
    """

    def ask(images: NDArray[Any]) -> list[NDArray[Any]]:
        return [outputs_again(each, images, source, settings) for each in (baseline, best)]

    found = {
        name: _of_output(name, baseline.by_output[name].answers, said.answers, best.name, test, ask)
        for name, said in best.by_output.items()
    }
    kept_answers.write(out, {name: each.answers for name, each in found.items() if each.answers})
    prediction_diff.write(out, {name: each.changed for name, each in found.items()})
    return {name: each.images for name, each in found.items()}


def _of_output(
    name: str, before: Answers, after: Answers, engine: str, test: Split, ask: Ask
) -> Shown:
    signature, own = after.signature, of(test, name)
    if signature.task == "segmentation":
        return _masks(name, before, after, engine, own, ask)
    kept = None
    if signature.task in ("binary", "multilabel", "regression") and not signature.metric:
        kept = kept_answers.of_values(before, after, engine, signature)
    if after.decisions is None:
        return Shown(answers=kept)
    images = shown_images.found(signature)
    return Shown(images, kept, prediction_diff.changed_images(own, before, after, images))


def _masks(name: str, before: Answers, after: Answers, engine: str, test: Split, ask: Ask) -> Shown:
    """Asks once more for the few masks that are shown: all of them, held while engines are timed,
    would fill the memory.
    """
    signature = after.signature
    beside = shown_images.found(signature, test.labels.shape[1:])
    if beside.reason:
        return Shown(beside)
    worst = kept_answers.worst_masks(before, after)
    try:
        outputs = ask(np.asarray(test.images[worst]))
    except EngineError as error:
        progress.warn(f"no masks are kept for the report: {error.message}")
        return Shown(ShownImages(reason=error.message))
    first, last = (each[name] if name else each for each in outputs)
    return Shown(beside, kept_answers.of_masks(test, worst, first, last, engine, signature))
