from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline.comparison.accuracy import compare
from pipeline.comparison.model import CHOSEN, PairedAccuracyDifference
from stages.numerics.proportions import change, mcnemar, paired_change
from tests.pipeline.comparison.samples import altered, run

LABELS = np.arange(360) % 10


def answers(wrong: range) -> dict[str, Any]:
    """Predictions of litert.int8 that miss these images."""
    predicted = LABELS.copy()
    predicted[list(wrong)] += 1
    return {"labels": LABELS, "litert.int8": predicted}


def test_models_and_engines_that_both_runs_measured_are_compared() -> None:
    found = [entry.what for entry in compare(run(), run())]
    assert found == [
        "train", "prune", "quantize", "onnxruntime.fp32", "onnxruntime.int8", "litert.int8",
    ]  # fmt: skip


def test_without_predictions_the_interval_is_that_of_independent_images() -> None:
    after = altered(run(), "stages", "prune", "top1", to=340 / 360)
    found = compare(run(), after)[1]
    expected = change(356, 360, 340, 360)
    assert found.method == "unpaired"
    assert found.is_different
    assert found.points == pytest.approx(100 * (340 - 356) / 360)
    assert (found.low, found.high) == (100 * expected.low, 100 * expected.high)
    assert (found.before.samples, found.after.top1) == (360, 340 / 360)


def test_with_the_predictions_of_both_the_images_are_paired() -> None:
    before, after = run(predictions=answers(range(12))), run(predictions=answers(range(10, 15)))
    found = compare(before, after)[-1]
    expected = paired_change(345, 3, 10, 2)
    assert isinstance(found, PairedAccuracyDifference)
    assert found.method == "paired"
    assert (found.only_before, found.only_after) == (3, 10)
    assert (found.before.top1, found.after.top1) == (348 / 360, 355 / 360)
    assert (found.low, found.high) == (100 * expected.low, 100 * expected.high)
    assert found.p == mcnemar(3, 10)


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"labels": LABELS},
        {"labels": LABELS[:100], "litert.int8": LABELS[:100]},
        {"labels": (LABELS + 1) % 10, "litert.int8": LABELS},
    ],
)
def test_predictions_on_other_images_are_not_paired(other: dict[str, Any]) -> None:
    found = compare(run(predictions=answers(range(3))), run(predictions=other))
    assert {entry.method for entry in found} == {"unpaired"}


@pytest.mark.parametrize(
    ("before", "after", "method"), [(1, 1, "paired"), (1, 2, "unpaired"), (None, 2, "paired")]
)
def test_images_are_paired_where_they_are_the_same_and_not_only_their_labels(
    before: int | None, after: int, method: str
) -> None:
    """Another data set may have as many images of each class in the same order."""
    was, now = (
        run(predictions=answers(range(3)) | ({"images": np.array([each])} if each else {}))
        for each in (before, after)
    )
    assert compare(was, now)[-1].method == method


def test_two_chosen_engines_are_compared_with_each_other() -> None:
    found = next(e for e in compare(run(), run(litert_int8=4.0)) if e.what == CHOSEN)
    assert (found.before.top1, found.after.top1) == (355 / 360, 355 / 360)


def test_a_model_that_one_run_did_not_measure_is_left_out() -> None:
    after = altered(run(), "stages", to={})
    after = altered(after, "engines", "litert.int8", "samples", to=None)
    whats = [entry.what for entry in compare(run(), after)]
    assert "prune" not in whats
    assert "litert.int8" not in whats
