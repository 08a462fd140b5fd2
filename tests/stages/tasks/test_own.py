"""A metric of the user's in place of that of the task."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stages.artifacts.signature import Signature
from stages.errors import ModelError
from stages.tasks import base
from stages.tasks.base import Answers

METRICS = """
import numpy as np

def near(targets, outputs):
    return np.abs(targets - outputs)[:, 0] < 1

def all_near(targets, outputs):
    return near(targets, outputs).mean()

def far(targets, outputs):
    return 1 - all_near(targets, outputs)

def careless(targets, outputs):
    outputs -= targets
    return np.abs(outputs).mean()

def in_percent(targets, outputs):
    return 100 * all_near(targets, outputs)

def negative(targets, outputs):
    return -2.0

def rounded_up(targets, outputs):
    return 1 + 5e-7

def of_the_rare(targets, outputs):
    return near(targets, outputs)[targets[:, 0] < 2].mean()
"""
PLAIN = Signature((4, 4, 1), ("age",), 1.0, 0.0, task="regression", output="values")
TRUTH = np.arange(40, dtype=np.float32)[:, None]
SAID = TRUTH + np.where(np.arange(40) % 4, 0.25, 3.0).astype(np.float32)[:, None]


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "metrics_of_ages.py").write_text(METRICS)
    monkeypatch.syspath_prepend(tmp_path)


def judged(function: str, **more: bool) -> Signature:
    return replace(PLAIN, metric=f"metrics_of_ages:{function}", **more)


@pytest.mark.parametrize(
    ("function", "more"), [("near", {}), ("all_near", {}), ("far", {"higher_is_better": False})]
)
def test_one_number_and_one_for_each_image_say_the_same(function, more) -> None:
    signature = judged(function, **more)
    before, after = (Answers.of(each, TRUTH, signature) for each in (TRUTH, SAID))
    assert (before.score, after.score) == (1.0, 0.75)
    change = before.change_to(after)
    assert change is not None
    assert change.estimate == -0.25
    assert change.low < -0.25 < change.high < 0
    found = base.asked(signature).quality(SAID, TRUTH, signature)
    name = f"{'1 - ' * bool(more)}metrics_of_ages:{function}"
    assert (found.metric, found.score, found.words) == (f"own {name}", 0.75, name)
    assert found.measures is not None
    assert found.measures["mae"] == pytest.approx(0.75 * 0.25 + 0.25 * 3)


def test_all_else_is_as_the_task_has_it() -> None:
    signature = judged("near")
    task, plain = base.asked(signature), base.of("regression")
    assert task.TOLERANCE == plain.TOLERANCE
    np.testing.assert_array_equal(
        task.errors(SAID, TRUTH, signature), plain.errors(SAID, TRUTH, signature)
    )
    assert base.asked(PLAIN) is plain


def test_nothing_that_is_judged_can_be_written_to() -> None:
    with pytest.raises(ModelError, match="raised ValueError"):
        Answers.of(SAID.copy(), TRUTH, judged("careless"))


@pytest.mark.parametrize(
    ("function", "more", "words"),
    [
        ("in_percent", {}, "says 75, expected at most 1"),
        ("negative", {"higher_is_better": False}, "says -2, expected at least 0 where lower"),
    ],
)
def test_what_is_no_share_is_refused(function, more, words) -> None:
    with pytest.raises(ModelError, match=words):
        Answers.of(SAID, TRUTH, judged(function, **more))


def test_what_rounding_put_above_one_is_one() -> None:
    assert Answers.of(SAID, TRUTH, judged("rounded_up")).score == 1.0


def test_draws_that_the_metric_cannot_judge_say_nothing() -> None:
    signature = judged("of_the_rare")
    before, after = (Answers.of(each, TRUTH, signature) for each in (TRUTH, SAID))
    change = before.change_to(after)
    assert change is not None
    assert np.isfinite([change.low, change.high]).all()
