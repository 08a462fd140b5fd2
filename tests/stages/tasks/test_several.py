"""Several outputs, each judged by its own task."""

from __future__ import annotations

import numpy as np
import pytest

from stages.artifacts.signature import Head, Signature
from stages.errors import DataError
from stages.numerics import fields
from stages.tasks import classification, regression, several
from stages.tasks.base import Answers

SIGNATURE = Signature(
    (8, 8, 3),
    (),
    1 / 255,
    0.0,
    output="values",
    task="several",
    heads=(
        Head("box", "regression", "values", ("x", "y"), ()),
        Head("kind", "classification", "logits", ("a", "b", "c"), ()),
    ),
)
BOX, KIND = SIGNATURE.each


@pytest.fixture
def right():
    random = np.random.default_rng(0)
    boxes = random.normal(size=(30, 2)).astype(np.float32)
    return fields.joined({"box": boxes, "kind": random.integers(0, 3, 30)})


def answered(right, box_noise=0.0, wrong=0):
    """Outputs that are off by a noise in the boxes, and of another class for the first `wrong`."""
    random = np.random.default_rng(1)
    boxes = right["box"] + np.float32(box_noise) * random.normal(size=(30, 2)).astype(np.float32)
    logits = np.eye(3, dtype=np.float32)[right["kind"]]
    logits[:wrong] = np.roll(logits[:wrong], 1, axis=1)
    return SIGNATURE.joined([boxes, logits])


def test_the_score_is_the_mean_of_those_of_the_outputs(right):
    said = answered(right, box_noise=0.3, wrong=6)
    r2 = regression.score(regression.evidence(said["box"], right["box"], BOX))
    found = several.quality(said, right, SIGNATURE)
    assert found.score == pytest.approx((r2 + 24 / 30) / 2)
    assert found.outputs is not None
    assert found.outputs["box"] == regression.quality(said["box"], right["box"], BOX)
    assert found.outputs["kind"] == classification.quality(said["kind"], right["kind"], KIND)
    assert several.score(several.evidence(said, right, SIGNATURE)) == found.score


def test_a_paired_bootstrap_says_what_worse_answers_lose(right):
    before, after = (
        Answers.of(answered(right, wrong=wrong), right, SIGNATURE) for wrong in (0, 12)
    )
    change = before.change_to(after)
    assert change is not None
    assert change.estimate == pytest.approx(-0.2)
    assert change.high < 0


@pytest.mark.parametrize(("noise", "wrong"), [(0.0, 5), (2.0, 0)])
def test_an_image_is_lost_where_one_of_its_answers_is(right, noise, wrong):
    before, after = (
        several.errors(each, right, SIGNATURE)
        for each in (answered(right), answered(right, noise, wrong))
    )
    lost = int(np.sum(after - before > several.TOLERANCE))
    assert lost == wrong if wrong else lost > 20


def test_the_output_that_agrees_least_counts(right):
    said = answered(right)
    assert several.agreement(said, said, SIGNATURE) == 1
    assert several.agreement(said, answered(right, wrong=15), SIGNATURE) == 0.5


def test_labels_of_one_output_are_refused(right):
    with pytest.raises(DataError, match="labels are those of one output"):
        several.checked(right["kind"], (), "y_train")


def test_a_signature_with_heads_is_read_as_it_was_written(tmp_path):
    SIGNATURE.write(tmp_path)
    assert Signature.read(tmp_path) == SIGNATURE
    assert SIGNATURE.output_names == ("box", "kind")
    assert [each.shape_of_output for each in SIGNATURE.each] == [(2,), (3,)]
