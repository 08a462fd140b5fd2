"""The table of tasks: a new one is one file of this package, one row here, its loss, and what is
said of an image: pipeline/bundle has `predictions`, `answers` and a module in `programs`.

Plain data: `model.task` takes these names, and reports take the words of the metrics.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal, NamedTuple

TaskName = Literal[
    "classification", "binary", "multilabel", "regression", "segmentation", "raw", "several"
]

Output = Literal["logits", "probabilities", "values"]
"""What a network returns: logits or probabilities of classes, or the values that were asked."""

OneTask = Literal["classification", "binary", "multilabel", "regression", "segmentation", "raw"]
"""Those that may be asked of one output."""

TASKS: dict[TaskName, str] = {
    "classification": "stages.tasks.classification",
    "binary": "stages.tasks.binary",
    "multilabel": "stages.tasks.multilabel",
    "regression": "stages.tasks.regression",
    "segmentation": "stages.tasks.segmentation",
    "raw": "stages.tasks.raw",
    "several": "stages.tasks.several",
}
"""Name -> module: see stages/tasks/base.py."""


class Metric(NamedTuple):
    """A number of the test split: its words, and whether it is a share, printed in percent."""

    words: str
    is_share: bool = True


METRICS = {
    "top1": Metric("top-1 accuracy"),
    "roc_auc": Metric("ROC AUC"),
    "accuracy": Metric("accuracy at the threshold"),
    "f1": Metric("F1 at the threshold"),
    "threshold": Metric("threshold", is_share=False),
    "mean_average_precision": Metric("mean average precision"),
    "f1_macro": Metric("macro F1 at the thresholds"),
    "r2": Metric("R2"),
    "mae": Metric("mean absolute error", is_share=False),
    "rmse": Metric("root mean squared error", is_share=False),
    "mean_iou": Metric("mean IoU"),
    "pixel_accuracy": Metric("pixel accuracy"),
    "mean_over_outputs": Metric("mean over the outputs"),
    "own": Metric("own metric"),
}
"""By the key in `Quality`."""

MAIN: dict[TaskName, str] = {
    "classification": "top1",
    "binary": "roc_auc",
    "multilabel": "mean_average_precision",
    "regression": "r2",
    "segmentation": "mean_iou",
    "raw": "own",
    "several": "mean_over_outputs",
}
"""What decides, by task: at most 1, higher is better, so that a point is 0.01 of it everywhere."""


OWN = "own "
"""What the keys of users' metrics begin with."""


def own_metric(function: str, higher_is_better: bool) -> str:
    """The key of a metric of the user's, module:function; two of them are never taken for one."""
    return f"{OWN}{function}" if higher_is_better else f"{OWN}1 - {function}"


MEAN = "mean over "
"""What the keys of means over outputs begin with, where those of several networks meet."""


def mean_over(metrics: Mapping[str, str]) -> str:
    """The key of the mean of these metrics, in words by output; no other mean is taken for it."""
    return MEAN + ", ".join(f"{name} ({words})" for name, words in sorted(metrics.items()))


def metric(key: str) -> Metric:
    """By the key in `Quality`; a metric of the user's is called as its function."""
    if key.startswith(MEAN):
        return Metric(key)
    return Metric(key.removeprefix(OWN)) if key.startswith(OWN) else METRICS[key]


def metric_of(task: TaskName) -> str | None:
    """What decides, as `Quality.metric` has it: None for the accuracy of classes."""
    return None if task == "classification" else MAIN[task]


def task_of(measures: Collection[str]) -> TaskName:
    """The task whose metric is among the keys of `Quality.measures`."""
    return next((task for task in MAIN if MAIN[task] in measures), "classification")
