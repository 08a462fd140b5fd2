"""A run whose records hold every optional fact, and the arrays of its benchmark."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.results.model import Report
from tests.pipeline.records import Record, records, report_of

NAMES = ["0", "1", "2"]
BEFORE = [[118, 1, 1], [0, 120, 0], [1, 0, 119]]
AFTER = [[119, 0, 1], [0, 117, 3], [1, 0, 119]]
"""Confusion of 360 images: 357 and 355 of them right."""

GROUPS = [
    {"layers": ["conv1"], "channels_before": 32, "channels_after": 16},
    {"layers": ["conv2", "add"], "channels_before": 64, "channels_after": 48},
]
LEVELS = [
    {"layers": layers, "channels": channels, "width": width, "accuracy_drop": drop,
     "latency_ratio": ratio, "latency_ms": ratio}
    for layers, channels, width, drop, ratio in (
        (["conv1"], 32, 32, 0.0, 1.0), (["conv1"], 32, 16, 0.02, 0.8),
        (["conv2", "add"], 64, 64, 0.0, 1.0), (["conv2", "add"], 64, 48, 0.05, 0.7),
        (["conv2", "add"], 64, 32, 0.1, 0.6),
    )
]  # fmt: skip
RANGES = {
    "image": {"low": 0.0, "high": 1.0, "saturated_share": 0.0},
    "relu1": {"low": 0.0, "high": 4.0, "saturated_share": 0.0001},
    "logits": {"low": -3.0, "high": 6.0, "saturated_share": 0.0},
}
LAYERS = {
    "litert.int8": [
        {"name": "conv1", "nodes": ["conv1"], "kind": "Conv", "requested": "int8",
         "executed": "int8", "tactic": None},
        {"name": "softmax", "nodes": [], "kind": None, "requested": None, "executed": "FP32",
         "tactic": None},
        {"name": "dense", "nodes": ["dense"], "kind": "Gemm", "requested": "int8",
         "executed": "fp32", "tactic": "gemm_1"},
    ]
}  # fmt: skip


def parity_check(name: str, difference: float, passed: bool = True) -> dict[str, Any]:
    """A graph or an engine against Keras."""
    return {
        "name": name,
        "against": "keras float",
        "samples": 256,
        "top1_agreement": 1.0 if passed else 0.5,
        "max_absolute_difference": difference,
        "mean_absolute_difference": difference / 2,
        "passed": passed,
    }


def per_class(confusion: list[list[int]]) -> dict[str, Any]:
    """As stages.numerics.classification.describe gives it, counted here by hand."""
    counts = np.array(confusion)
    hits, truth, named = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    rows = [
        {"precision": h / n, "recall": h / t, "f1": 2 * h / (t + n), "support": int(t)}
        for h, t, n in zip(hits, truth, named, strict=True)
    ]
    return {"classes": NAMES, "per_class": rows, "confusion": confusion}


def history(epochs: int) -> list[dict[str, Any]]:
    """Loss 1, 1/2, 1/3 ...; the last validation loss could not be computed."""
    return [
        {
            "epoch": epoch,
            "loss": 1 / epoch,
            "accuracy": 1 - 0.1 / epoch,
            "val_loss": 1.1 / epoch if epoch < epochs else None,
            "val_accuracy": 1 - 0.2 / epoch,
            "learning_rate": 0.001,
        }
        for epoch in range(1, epochs + 1)
    ]


def full_records() -> dict[str, Record]:
    """The whole line."""
    found = records()
    measured = {stage: record["measurements"] for stage, record in found.items()}
    for stage in ("train", "prune", "quantize"):
        measured[stage]["details"]["history"] = history(4)
    measured["prune"]["details"] |= {"groups": GROUPS, "sensitivity": LEVELS}
    measured["quantize"]["details"] |= {
        "ranges": RANGES,
        "saturation": {"relu1": {"samples_clipped_share": 0.25, "low": 0.0, "high": 4.0}},
    }
    measured["convert"]["details"] |= {"parity_checks": [parity_check("model.fp32.onnx", 1e-6)]}
    measured["build"]["details"] |= {
        "parity_checks": [
            parity_check("litert.int8", 0.0),
            parity_check("broken.fp16", 3.0, passed=False),
        ],
        "layers": LAYERS,
    }
    measured["benchmark"]["details"] |= {
        "classification": {"baseline": per_class(BEFORE), "litert.int8": per_class(AFTER)},
        "changed": {"engine": "litert.int8", "lost": 3, "won": 1, "other": 0},
    }
    timed = [measured["benchmark"]["details"]["baseline"]["latency"]]
    timed += [engine["latency"] for engine in measured["benchmark"]["engines"]]
    for row in (row for rows in timed for row in rows):
        row["window_p50_ms"] = [row["p50_ms"] * factor for factor in (0.98, 1.0, 1.0, 1.05)]
        row |= {"p50_low_ms": row["p50_ms"] * 0.99, "p50_high_ms": row["p50_ms"] * 1.02}
        row["stable"] = row["precision"] == "int8"
    return found


@cache
def full_report() -> Report:
    """Its report, made once: it cannot change."""
    return report_of(full_records())


def write_arrays(artifacts: Path) -> None:
    """latency.npz and changed.npz as the benchmark leaves them."""
    folder = artifacts / "benchmark"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    names = {
        "baseline.onnxruntime.fp32": 0.056,
        "onnxruntime.fp32": 0.025,
        "onnxruntime.int8": 0.02,
        "litert.int8": 0.008,
    }
    calls = {
        f"{name}.b{batch}.t1": (p50 * batch * random.lognormal(0, 0.05, 500)).astype(np.float32)
        for name, p50 in names.items()
        for batch in (1, 32)
    }
    np.savez(folder / "latency.npz", **calls)
    np.savez(
        folder / "changed.npz",
        images=random.integers(0, 256, (4, 8, 8, 1), np.uint8),
        indices=np.array([3, 5, 8, 13]),
        labels=np.array([1, 1, 1, 0]),
        before=np.array([1, 1, 1, 1]),
        after=np.array([2, 2, 2, 0]),
    )


def report_with(**details: dict[str, Any]) -> Report:
    """The report of the sample run whose stages recorded these details."""
    found = records()
    for stage, measured in details.items():
        found[stage]["measurements"]["details"] = measured
    return report_of(found)
