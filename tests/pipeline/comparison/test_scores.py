from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from pipeline.comparison import Comparison, Run, compare, describe, render, table
from pipeline.comparison.model import ScoreDifference
from tests.pipeline.comparison.samples import altered, run


def scored(found: Run, score: float, metric: str = "roc_auc") -> Run:
    """The run as one of another task, each of whose models has this score."""
    for part in ("stages", "engines"):
        for name, each in getattr(found.summary, part).items():
            model = each.model_copy(update={"top1": None, "metric": metric, "score": score})
            found = altered(found, part, name, to=model)
    return found


@pytest.fixture
def found() -> Comparison:
    return compare(scored(run("a"), 0.97), scored(run("b", litert_int8=0.9), 0.985))


def test_models_and_engines_are_compared_by_their_own_metric(found: Comparison) -> None:
    assert found.accuracy == ()
    assert [each.what for each in found.scores] == [
        "train", "prune", "quantize", "onnxruntime.fp32", "onnxruntime.int8", "litert.int8",
    ]  # fmt: skip
    for each in found.scores:
        assert (each.metric, each.before, each.after, each.samples) == ("roc_auc", 0.97, 0.985, 360)
        assert each.points == pytest.approx(1.5)


def test_the_words_are_those_of_the_metric_and_no_interval_is_claimed(found: Comparison) -> None:
    out = io.StringIO()
    Console(file=out, width=150).print(table(found))
    assert "\nQuality\n" in out.getvalue()
    assert "\nAccuracy\n" not in out.getvalue()
    assert "No interval: it would take what each engine returned" in out.getvalue()
    assert "ROC AUC: 1.50 points higher, no interval" in found.verdict[0]
    assert "| train: ROC AUC | 97.00 % | 98.50 % | 360 |" in render(found, "md")
    assert json.loads(render(found, "json"))["scores"][0]["points"] == pytest.approx(1.5)


def test_other_metrics_are_not_compared_and_that_is_said() -> None:
    found = compare(scored(run(), 0.97), scored(run(), 0.9, "r2"))
    assert (found.scores, found.accuracy) == ((), ())
    assert "A is judged by ROC AUC and B by R2, which are not compared." in found.warnings
    mixed = compare(run(), scored(run(), 0.9, "r2"))
    assert (mixed.scores, mixed.accuracy) == ((), ())
    assert "A is judged by accuracy and B by R2, which are not compared." in mixed.warnings


def test_a_run_that_measured_nothing_is_judged_by_nothing() -> None:
    empty = altered(altered(run(), "stages", to={}), "engines", to={})
    assert not any("judged" in each for each in compare(empty, scored(run(), 0.9)).warnings)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (0.9, 0.9, "the same"),
        (0.9, 0.90001, "nearly the same, no interval"),
        (0.5, -0.25, "75.00 points lower, no interval"),
    ],
)
def test_a_change_is_said_in_points(before: float, after: float, words: str) -> None:
    entry = ScoreDifference(
        what="train",
        metric="r2",
        before=before,
        after=after,
        samples=9,
        points=100 * (after - before),
    )
    assert describe.score(entry) == words
