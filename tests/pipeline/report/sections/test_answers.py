from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from pipeline.report import contents, html
from pipeline.report.sections import answer_charts, answers
from pipeline.results.evidence import Evidence
from pipeline.results.model import Report
from stages.measurement.kept_answers import KeptAnswers
from stages.tasks.registry import MAIN, TaskName
from tests.pipeline.records import records, report_of
from tests.pipeline.report.drawn import by_name, lines, texts

RANDOM = np.random.default_rng(0)
YES = np.array([1, 1, 0, 1, 0, 0, 1, 0], np.float32)[:, None]
BEFORE = np.array([3.0, 2.0, 1.0, 0.5, 0.5, -1.0, -1.5, -3.0], np.float32)[:, None]
AFTER = np.array([2.0, 2.0, 2.0, 1.0, -0.5, -1.0, -0.5, -2.0], np.float32)[:, None]


def report_with(task: TaskName, before: dict[str, float], after: dict[str, float]) -> Report:
    """The sample run, whose trained model and engines have these metrics of `task`."""
    found = records()
    measured = found["benchmark"]["measurements"]
    for each, measures in [
        (measured["details"]["baseline"], before),
        *((engine, after) for engine in measured["engines"] if engine["latency"]),
    ]:
        each["accuracy"] = {"metric": MAIN[task], "measures": measures, "samples": 360}
    return report_of(found)


def kept(task: TaskName, names: tuple[str, ...], *arrays: np.ndarray, **more: Any) -> KeptAnswers:
    """What is right, what the trained model says and what LiteRT INT8 says."""
    return KeptAnswers(task, "litert.int8", names, np.arange(len(arrays[0])), *arrays, **more)


def limits(*values: float) -> dict[str, np.ndarray]:
    """The same thresholds for both models."""
    return {"limits_before": np.array(values), "limits_after": np.array(values)}


def test_a_metric_stands_in_one_table() -> None:
    report = report_with("binary", {"roc_auc": 0.9, "f1": 0.75}, {"roc_auc": 0.9, "f1": 0.625})
    shown = [
        table.title
        for table in contents.tables(report, "html")
        if any("62.50 %" in row for row in table.rows)
    ]
    assert shown == ["Other metrics"]


def test_classification_has_no_figures() -> None:
    assert by_name(answers.charts, report_of()) == {}


def test_the_curves_are_those_of_scikit_learn_with_each_threshold_on_them() -> None:
    own = {"limits_before": np.array([0.75]), "limits_after": np.array([0.0])}
    found = kept("binary", ("sound", "cracked"), YES, BEFORE, AFTER, **own)
    report = report_with("binary", {"roc_auc": 0.8}, {"roc_auc": 0.8})
    (chart,) = by_name(answers.charts, report, Evidence(answers=found)).values()
    trained, point, engine, other = lines(chart)
    for (recall, precision), scores in ((trained, BEFORE), (engine, AFTER)):
        wanted = metrics.precision_recall_curve(YES, scores)
        assert precision[1:] == pytest.approx(100 * wanted[0][-2::-1])
        assert recall[1:] == pytest.approx(100 * wanted[1][-2::-1])
    assert (point, other) == (([50.0], [pytest.approx(200 / 3)]), ([75.0], [75.0]))
    areas = [metrics.average_precision_score(YES, each) for each in (BEFORE, AFTER)]
    assert chart.description == (
        "On 8 of 360 test images, 4 of them cracked. The trained model: average precision "
        f"{areas[0]:.2%}, at its threshold precision 66.67 % and recall 50.00 %; LiteRT INT8: "
        f"average precision {areas[1]:.2%}, at its threshold precision 75.00 % and recall 75.00 %. "
        "Each has its own threshold, chosen on validation images."
    ).replace("%,", " %,")


def test_an_engine_that_never_says_yes_has_no_point_and_no_yes_at_all_no_figure() -> None:
    report = report_with("binary", {"roc_auc": 0.8}, {"roc_auc": 0.8})
    found = kept("binary", ("a", "b"), YES, BEFORE, AFTER, **limits(2.5))
    (chart,) = by_name(answers.charts, report, Evidence(answers=found)).values()
    assert len(lines(chart)) == 3
    assert "no image reaches its threshold" in chart.description
    none = kept("binary", ("a", "b"), 0 * YES, BEFORE, AFTER, **limits(0.0))
    assert by_name(answers.charts, report, Evidence(answers=none)) == {}


def test_the_worst_labels_come_first_and_those_of_no_image_are_told() -> None:
    truth = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]], np.float32)
    good = np.array([[2, -2, 0], [1, 3, 0], [-1, 2, 0], [-2, -3, 0]], np.float32)
    worse = good * np.array([[1, -1, 1]], np.float32)
    found = kept("multilabel", ("cat", "dog", "emu"), truth, good, worse, **limits(0.0, 0.0, 0.0))
    report = report_with("multilabel", {"mean_average_precision": 1}, {"mean_average_precision": 1})
    (chart,) = by_name(answers.charts, report, Evidence(answers=found)).values()
    low = metrics.average_precision_score(truth[:, 1], worse[:, 1])
    fell = f"100.00 % → {100 * low:.2f} %"
    assert texts(chart) == ["dog", fell, "cat", "100.00 % → 100.00 %"]
    assert chart.description == (
        "On 4 of 360 test images, LiteRT INT8 has a lower average precision than the trained model "
        f"for 1 of 2 labels, most of all for dog: 100.00 % before, {100 * low:.2f} % after. "
        "No image has emu."
    )


def test_of_many_labels_only_the_worst_are_drawn() -> None:
    truth = np.eye(30, dtype=np.float32)
    scores = RANDOM.normal(size=(30, 30)).astype(np.float32)
    names = tuple(f"label {number} with a name that is long" for number in range(30))
    found = kept("multilabel", names, truth, scores, scores, **limits(*[0.0] * 30))
    report = report_with("multilabel", {"mean_average_precision": 1}, {"mean_average_precision": 1})
    (chart,) = by_name(answers.charts, report, Evidence(answers=found)).values()
    assert len(texts(chart)) == 2 * answer_charts.MOST_LABELS
    assert "for 0 of 30 labels." in chart.description


def test_values_are_drawn_against_the_truth_and_their_residuals_told() -> None:
    truth = np.stack([np.arange(101), np.arange(101)[::-1]], axis=1).astype(np.float32)
    before, after = truth.copy(), truth.copy()
    after[:, 1] += np.linspace(-10, 10, 101, dtype=np.float32)
    found = kept("regression", ("x", "y"), truth, before, after)
    report = report_with("regression", {"r2": 1}, {"r2": 1})
    worst, other = by_name(answers.charts, report, Evidence(answers=found)).values()
    assert (worst.name, other.name) == ("value-1", "value-0")
    trained, engine, diagonal = lines(worst)
    assert engine[1] == after[:, 1].tolist()
    assert trained[0] == truth[:, 1].tolist()
    assert diagonal == ([0.0, 100.0], [0.0, 100.0])
    r2 = metrics.r2_score(truth[:, 1], after[:, 1])
    assert worst.description == (
        "y, on 101 of 360 test images; a residual is the predicted value less the true one. The "
        "trained model: R2 100.00 %, half of the residuals from 0 to 0, 90 % from 0 to 0; LiteRT "
        f"INT8: R2 {100 * r2:.2f} %, half of the residuals from -5 to 5, 90 % from -9 to 9."
    )


def test_a_figure_of_very_many_images_has_some_of_their_points() -> None:
    truth = RANDOM.normal(size=(2000, 6)).astype(np.float32)
    found = kept("regression", tuple("abcdef"), truth, truth, truth)
    report = report_with("regression", {"r2": 1}, {"r2": 1})
    charts = by_name(answers.charts, report, Evidence(answers=found))
    assert len(charts) == answer_charts.MOST_VALUES
    assert len(lines(charts["value-0"])[0][0]) == answer_charts.MOST_POINTS


def test_the_page_says_below_a_figure_what_it_shows() -> None:
    found = kept("binary", ("sound", "<b>"), YES, BEFORE, AFTER, **limits(0.0))
    report = report_with("binary", {"roc_auc": 0.8}, {"roc_auc": 0.8})
    page = html.render(report, Evidence(answers=found))
    assert '<p class="note">On 8 of 360 test images, 4 of them &lt;b&gt;.' in page
    assert "<figcaption>Precision and recall of &lt;b&gt;</figcaption>" in page
