from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.bundle import answers
from pipeline.bundle.export import refuse_equal_columns
from pipeline.bundle.predictions import PREDICTIONS, Predictions
from stages.artifacts.signature import Head, Signature
from stages.errors import SettingsError
from stages.tasks.registry import TASKS
from tests.built_artifact import PLAIN, SIGNATURES


def predictions(signature: Signature, outputs: Any) -> Any:
    return PREDICTIONS[signature.task](np.asarray(outputs, np.float32), signature)


def of(name: str, outputs: Any, **changes: Any) -> Any:
    return predictions(replace(SIGNATURES[name], **changes), outputs)


def logit(shares: Any) -> NDArray[np.float64]:
    return np.asarray(np.log(shares) - np.log1p(-np.asarray(shares)), np.float64)


def test_every_task_has_its_answers() -> None:
    assert list(PREDICTIONS) == list(TASKS)


def test_probabilities_of_classes_are_the_softmax_of_logits_and_the_best_come_first() -> None:
    signature = replace(PLAIN, class_names=("a", "b", "c"))
    found = predictions(signature, [[0.0, np.log(3.0), -np.inf]])
    np.testing.assert_allclose(found.probabilities, [[0.25, 0.75, 0.0]], rtol=1e-6)
    assert [name for name, _ in found.top(2)[0]] == ["b", "a"]
    assert (found.kind, found.classes) == ("logits", ("a", "b", "c"))
    shares = np.array([[0.25, 0.75, 0.0]], np.float32)
    of_shares = predictions(replace(signature, output="probabilities"), shares)
    assert (of_shares.probabilities == shares).all()


def test_a_yes_is_a_probability_of_at_least_the_threshold() -> None:
    found = of("binary", logit([[0.44], [0.46], [0.9]]))
    np.testing.assert_allclose(found.probabilities, [0.44, 0.46, 0.9], rtol=1e-6)
    assert found.decisions.tolist() == [False, True, True]
    assert found.labels == ["sound", "defect", "defect"]
    at_it = of("binary", [[0.25], [0.2499]], output="probabilities", thresholds=(0.25,))
    assert at_it.decisions.tolist() == [True, False]


def test_without_a_threshold_a_half_is_taken() -> None:
    assert of("binary", [[-0.1], [0.1]], thresholds=()).labels == ["sound", "defect"]


def test_labels_are_those_at_their_own_thresholds_best_first() -> None:
    found = of("multilabel", [[0.31, 0.6, 0.69], [0.2, 0.4, 0.75], [0.0, 0.0, 0.0]])
    assert found.decisions.tolist() == [[True, True, False], [False, False, True], [False] * 3]
    assert [list(each.items()) for each in found.labels] == [
        [("green", pytest.approx(0.6)), ("red", pytest.approx(0.31))],
        [("blue", pytest.approx(0.75))],
        [],
    ]


def test_values_have_names() -> None:
    found = of("regression", [[1.5, -2.0], [0.0, 7.25]])
    assert found.values is found.outputs
    assert found.named == [{"x": 1.5, "y": -2.0}, {"x": 0.0, "y": 7.25}]


def test_a_mask_has_the_class_of_every_pixel() -> None:
    random = np.random.default_rng(1)
    outputs = random.normal(size=(2, 6, 4, 3))
    found = of("segmentation", outputs)
    assert found.masks.dtype == np.uint8
    assert (found.masks == outputs.astype(np.float32).argmax(axis=-1)).all()
    for mask, shares in zip(found.masks, found.shares, strict=True):
        assert shares.tolist() == [(mask == index).mean() for index in range(3)]


def test_one_channel_is_the_probability_of_the_second_class() -> None:
    shares = np.random.default_rng(2).uniform(0.01, 0.99, (2, 6, 4, 1))
    found = of("one channel", logit(shares))
    assert (found.masks == (shares[..., 0] >= 0.6)).all()


@pytest.mark.parametrize("name", [name for name in SIGNATURES if name != "classification"])
def test_what_means_nothing_for_a_task_is_not_there(name: str) -> None:
    shape = (2, *SIGNATURES[name].shape_of_output)
    found = of(name, np.zeros(shape))
    with pytest.raises(AttributeError, match=f"answers of {found.signature.task} have no 'top'"):
        found.top(3)
    with pytest.raises(AttributeError, match=r"have no 'indices', but .*kind, names"):
        found.indices  # noqa: B018
    assert len(found) == 2


def test_the_base_of_all_answers_says_so_too() -> None:
    with pytest.raises(AttributeError, match="have no 'labels', but kind, names"):
        Predictions(np.zeros((1, 2), np.float32), PLAIN).labels  # noqa: B018


HEADS = replace(
    PLAIN,
    task="several",
    output="values",
    heads=(
        Head("kind", "classification", "logits", ("a", "b"), ()),
        Head("boxes", "raw", "values", (), (2, 2)),
    ),
)


def test_several_outputs_answer_by_name_and_raw_values_have_a_cell() -> None:
    boxes = np.arange(4, dtype=np.float32).reshape(1, 2, 2)
    said = HEADS.joined([np.array([[0.0, np.log(3.0)]], np.float32), boxes])
    found = PREDICTIONS["several"](said, HEADS)
    assert found.by_output["kind"].labels == ["b"]
    np.testing.assert_array_equal(found.by_output["boxes"].values, boxes)
    (answer,) = answers.of(found, ["1.png"], top=1)
    assert answer.words == "kind: b 75.0%; boxes: 2 x 2 values"
    assert answer.row == {
        "kind.class_1": "b",
        "kind.probability_1": "0.750000",
        "boxes.values": "[[0.0, 1.0], [2.0, 3.0]]",
    }
    assert answer.content["boxes"] == {"values": boxes[0].tolist()}


def test_columns_of_two_outputs_of_one_name_are_refused() -> None:
    twice = (
        Head("a", "regression", "values", ("b.c",), ()),
        Head("a.b", "regression", "values", ("c",), ()),
    )
    with pytest.raises(
        SettingsError, match=r"two columns of the answers would be called 'a\.b\.c'"
    ):
        refuse_equal_columns(replace(HEADS, heads=twice))
    refuse_equal_columns(HEADS)
