"""A run of a network with an output of every task, and of networks with one of these alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pipeline.results import evidence
from pipeline.results.evidence import Evidence
from pipeline.results.model import Report
from stages.measurement import kept_answers, prediction_diff
from stages.measurement.kept_answers import KeptAnswers
from stages.tasks.registry import TaskName
from tests.pipeline.records import Record, records, report_of
from tests.pipeline.report.full_run import AFTER, BEFORE, per_class

OUTPUTS: dict[str, tuple[TaskName, dict[str, Any]]] = {
    "kind": ("classification", {"top1": 0.9, "recall_macro": 0.9, "precision_macro": 0.9}),
    "there": ("binary", {"metric": "roc_auc", "measures": {"roc_auc": 0.97, "f1": 0.91}}),
    "labels": (
        "multilabel",
        {
            "metric": "mean_average_precision",
            "measures": {"mean_average_precision": 0.8, "f1_macro": 0.7},
        },
    ),
    "size": ("regression", {"metric": "r2", "measures": {"r2": 0.75, "mae": 2.5}}),
    "Size": ("regression", {"metric": "r2", "measures": {"r2": 0.5, "mae": 5.0}}),
    "mask": (
        "segmentation",
        {"metric": "mean_iou", "measures": {"mean_iou": 0.6, "pixel_accuracy": 0.95}},
    ),
}
"""By name the task and what every model reaches; two names differ in case alone."""
TRUTH = np.array([[1, 0], [1, 1], [0, 1], [0, 0]], np.float32)
SAID = np.array([[2, -2], [1, 3], [-1, 2], [-2, -3]], np.float32)
LIMITS = {"limits_before": np.zeros(2), "limits_after": np.zeros(2)}
LIMIT = {name: limits[:1] for name, limits in LIMITS.items()}
MASK = np.repeat(np.array([[[0, 0, 1, 1]], [[0, 2, 2, 255]]], np.uint8), 4, axis=1)
JUDGED = np.where(MASK == 255, 0, MASK).astype(np.uint8)


def _kept(
    task: TaskName, names: tuple[str, ...], *arrays: np.ndarray, **more: np.ndarray
) -> KeptAnswers:
    return KeptAnswers(task, "litert.int8", names, np.arange(len(arrays[0])), *arrays, **more)


ANSWERS = {
    "there": _kept("binary", ("no", "yes"), TRUTH[:, :1], SAID[:, :1], -SAID[:, :1], **LIMIT),
    "labels": _kept("multilabel", ("cat", "dog"), TRUTH, SAID, -SAID, **LIMITS),
    "size": _kept("regression", ("mm",), SAID[:, :1], SAID[:, :1], TRUTH[:, :1]),
    "Size": _kept("regression", ("inch",), SAID[:, :1], TRUTH[:, :1], SAID[:, :1]),
    "mask": _kept(
        "segmentation",
        ("ground", "ring", "square"),
        *(MASK, JUDGED, np.zeros_like(MASK)),
        images=np.zeros((2, 4, 4, 3), np.uint8),
    ),
}
CHANGED = {
    "images": np.zeros((4, 8, 8, 1), np.uint8),
    "indices": np.array([3, 5, 8, 13]),
    "labels": np.array([1, 1, 1, 0]),
    "before": np.array([1, 1, 1, 1]),
    "after": np.array([2, 2, 2, 0]),
}
"""Images of another class in the output "kind"."""


def together() -> Report:
    """The report of the network with all of these outputs."""
    mean = {"metric": "mean_over_outputs", "measures": {"mean_over_outputs": 0.7}}
    found = _judged({**mean, "outputs": {name: quality for name, (_, quality) in OUTPUTS.items()}})
    _details(found).update(outputs={name: _told(name) for name in OUTPUTS}, changed=_diff(9))
    return report_of(found)


def alone(name: str) -> Report:
    """That of the network with this output alone."""
    found = _judged(OUTPUTS[name][1])
    _details(found).update(_told(name))
    return report_of(found)


def arrays(folder: Path) -> Evidence:
    """What the benchmark of the network with all of these outputs leaves in the folder."""
    (benchmark := folder / "benchmark").mkdir()
    kept_answers.write(benchmark, ANSWERS)
    prediction_diff.write(benchmark, {"kind": CHANGED})
    return evidence.read(together(), folder)


def _judged(quality: dict[str, Any]) -> dict[str, Record]:
    """Records in which every model reaches this, of as many images as it was asked about."""
    found = records()
    for stage in found.values():
        measured = stage["measurements"]
        baseline = measured["details"].get("baseline")
        for model in filter(None, (measured, baseline, *measured.get("engines", ()))):
            if was := model["accuracy"]:
                own = {"samples": was["samples"]}
                model["accuracy"] = {**quality, **own}
                if each := quality.get("outputs"):
                    model["accuracy"]["outputs"] = {name: each[name] | own for name in each}
    return found


def _details(found: dict[str, Record]) -> dict[str, Any]:
    details: dict[str, Any] = found["benchmark"]["measurements"]["details"]
    return details


def _told(name: str) -> dict[str, Any]:
    """As the benchmark tells it of the answers of this output."""
    confusions = {"baseline": BEFORE, "litert.int8": AFTER}
    task, _ = OUTPUTS[name]
    described = {key: per_class(each) for key, each in confusions.items()}
    if task == "regression":
        described = {}
    if task == "multilabel":
        described = {key: {**each, "confusion": []} for key, each in described.items()}
    shown = {} if name in ("kind", "there", "mask") else None
    return {"classification": described, "changed": _diff(3), "shown": shown}


def _diff(lost: int) -> dict[str, Any]:
    return {"engine": "litert.int8", "lost": lost, "won": 1, "other": 0}
