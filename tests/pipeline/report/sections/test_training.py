from __future__ import annotations

import math
from typing import Any

import pytest

from pipeline.report.sections import training
from stages.results.training import Epoch, TrainingDetails
from tests.pipeline.records import records, report_of
from tests.pipeline.report.drawn import by_name, lines
from tests.pipeline.report.full_run import full_records, full_report, report_with


def test_every_stage_that_trained_has_its_curves() -> None:
    found = by_name(training.charts, full_report())
    assert list(found) == ["curves-train", "curves-prune", "curves-quantize"]
    learnt, checked = lines(found["curves-train"], 0)
    assert learnt == ([1, 2, 3, 4], pytest.approx([1, 1 / 2, 1 / 3, 1 / 4]))
    assert checked[1][:3] == pytest.approx([1.1, 0.55, 1.1 / 3])
    assert lines(found["curves-train"], 1)[1][1] == pytest.approx([80, 90, 280 / 3, 95])


def test_a_loss_that_was_not_finite_is_a_gap_and_not_told() -> None:
    chart = by_name(training.charts, full_report())["curves-train"]
    assert math.isnan(lines(chart, 0)[1][1][3])
    assert chart.description == (
        "After 4 epochs: training loss 0.25, training accuracy 97.50 %, "
        "validation accuracy 95.00 %."
    )


@pytest.mark.parametrize(
    ("metric", "words"), [("r2", "R2"), ("mean_iou", "mean IoU"), ("roc_auc", "ROC AUC")]
)
def test_the_lower_curve_of_another_task_is_its_metric_on_validation_images(
    metric: str, words: str
) -> None:
    found = full_records()
    found["train"]["measurements"]["accuracy"] = {"metric": metric, "measures": {metric: 0.9}}
    chart = by_name(training.charts, report_of(found))["curves-train"]
    assert chart.figure.axes[1].get_ylabel() == f"{words}, %"
    assert f"validation {words} 95.00 %" in chart.description
    assert f"training {words}" not in chart.description


@pytest.mark.parametrize("history", [[], [{"epoch": 1, "loss": 1.0}]])
def test_a_record_without_epochs_has_no_figure(history: Any) -> None:
    found = full_records()
    found["train"]["measurements"]["details"]["history"] = history
    assert "curves-train" not in by_name(training.charts, report_of(found))


def test_a_model_that_was_taken_as_it_was_has_no_figure() -> None:
    report = report_with(train={}, prune={}, quantize={})
    assert by_name(training.charts, report) == {}


def test_a_stage_of_your_own_that_trains_has_its_curves_too() -> None:
    epochs = tuple(Epoch(epoch=number, loss=1 / number) for number in (1, 2))
    train = report_of(records("train")).stages[0]
    mine = train.model_copy(update={"stage": "mine", "details": TrainingDetails(history=epochs)})
    report = report_of().model_copy(update={"stages": (mine,)})
    assert by_name(training.charts, report)["curves-mine"].title == "Training in mine"
