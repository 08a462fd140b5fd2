"""Sample records of a run on the digits: what the stages write, with numbers easy to check."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pipeline.core import record as record_module
from pipeline.core.plan import PLAN
from pipeline.results.assemble import assemble
from pipeline.results.model import Report

Record = dict[str, Any]

LINE = ("train", "prune", "quantize", "convert", "build", "benchmark")
NEEDS = {
    "train": (),
    "prune": ("train",),
    "quantize": ("prune",),
    "convert": ("train", "prune", "quantize"),
    "build": ("convert",),
    "benchmark": ("build",),
}
FILES = {
    "train": {"model.keras": 5_100_000, "signature.json": 300},
    "prune": {"model.keras": 1_400_000, "signature.json": 300},
    "quantize": {"model.keras": 1_410_000, "ranges.json": 900, "signature.json": 300},
    "convert": {"model.fp32.onnx": 440_000, "model.int8.cpu.onnx": 122_000},
    "build": {
        "baseline.onnxruntime.fp32.onnx": 1_687_000,
        "onnxruntime.fp32.onnx": 440_000,
        "onnxruntime.int8.onnx": 125_000,
        "litert.int8.tflite": 120_500,
        "tensorrt_rtx.int8.rtx": 310_000,
    },
    "benchmark": {"latency.npz": 88_000},
}
ENVIRONMENT = {
    "python": "3.11.7",
    "platform": "Linux 6.1.0",
    "machine": "x86_64",
    "cpu": {"model": "Sample CPU", "cores": 2, "flags": ["avx2", "avx512_vnni"]},
    "gpu": {"names": [], "driver": None, "jetson_linux": None, "visible": None},
    "packages": {"onnxruntime": "1.31.1", "tensorflow": "2.21.0"},
}
SETTINGS = {
    "data": {"name": "digits", "path": None},
    "train": {"epochs": 24},
    "prune": {"ratio": 0.5},
    "quantize": {"calibration": "max"},
    "convert": {"parity_samples": 256},
    "build": {"precisions": ["fp32", "fp16", "int8"]},
    "benchmark": {"batch_sizes": [1, 32]},
}


def sha256(stage: str, file: str) -> str:
    """A digest that differs from file to file and never changes."""
    return hashlib.sha256(f"{stage}/{file}".encode()).hexdigest()


def row(
    runtime: str, precision: str, batch_size: int, p50_ms: float, samples: int = 5000
) -> Record:
    """A latency row; the other figures follow from p50."""
    return {
        "batch_size": batch_size,
        "runtime": runtime,
        "precision": precision,
        "threads": 1,
        "samples": samples,
        "p50_ms": p50_ms,
        "p90_ms": p50_ms * 1.2,
        "p99_ms": p50_ms * 2,
        "mean_ms": p50_ms * 1.1,
        "images_per_second": batch_size * 1000 / p50_ms,
    }


def accuracy(right: int, samples: int = 360) -> Record:
    """`right` of `samples` images; the macro averages are a little lower."""
    share = right / samples
    return {
        "top1": share,
        "recall_macro": share * 0.999,
        "precision_macro": share * 0.998,
        "samples": samples,
    }


def engine(
    backend: str, precision: str, suffix: str, right: int, p50_ms: tuple[float, float]
) -> Record:
    """An engine that the benchmark ran at batch 1 and 32."""
    rows = [row(backend, precision, size, p50) for size, p50 in zip((1, 32), p50_ms, strict=True)]
    return {
        "backend": backend,
        "precision": precision,
        "file": f"{backend}.{precision}{suffix}",
        "state": "ran",
        "reason": None,
        "fix": None,
        "accuracy": accuracy(right),
        "latency": rows,
        "first_call_ms": 1.5,
        "load_ms": 20.0,
    }


def idle(backend: str, precision: str, file: str | None, reason: str, fix: str) -> Record:
    """An engine that did not run: built if it has a file, unavailable if not."""
    return {
        "backend": backend,
        "precision": precision,
        "file": file,
        "state": "built_not_run" if file else "unavailable",
        "reason": reason,
        "fix": fix,
        "accuracy": None,
        "latency": [],
    }


ENGINES = [
    engine("onnxruntime", "fp32", ".onnx", 356, (0.025, 0.5)),
    engine("onnxruntime", "int8", ".onnx", 355, (0.020, 0.2)),
    engine("litert", "int8", ".tflite", 355, (0.008, 0.25)),
    idle("tensorrt_rtx", "int8", "tensorrt_rtx.int8.rtx", "no GPU", "install NVIDIA's driver"),
    *(
        idle(
            "tensorrt",
            precision,
            None,
            "package tensorrt is not installed",
            "pip install 'keras-trt-pipeline[gpu]'",
        )
        for precision in ("fp32", "fp16", "int8")
    ),
]

MEASUREMENTS: dict[str, Record] = {
    "train": {
        "model": {"file": "model.keras", "parameters": 421_642, "multiply_adds": 8_000_000},
        "accuracy": accuracy(357),
        "latency": [row("tf.function", "fp32", 1, 0.4, samples=800)],
        "details": {"history": [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.1}]},
        "dataset": {
            "name": "digits",
            "train_samples": 1179,
            "calibration_samples": 128,
            "test_samples": 360,
        },
    },
    "prune": {
        "model": {"file": "model.keras", "parameters": 108_000, "multiply_adds": 2_100_000},
        "accuracy": accuracy(356),
        "latency": [row("tf.function", "fp32", 1, 0.3, samples=800)],
        "details": {"method": "channels"},
    },
    "quantize": {
        "model": {"file": "model.keras", "parameters": 108_000, "multiply_adds": 2_100_000},
        "accuracy": accuracy(355),
        "latency": [row("tf.function", "fake_int8", 1, 0.5, samples=800)],
        "details": {},
    },
    "convert": {
        "model": {"file": "model.int8.cpu.onnx", "parameters": 108_000, "multiply_adds": None},
        "accuracy": accuracy(252, samples=256),
        "latency": [],
        "details": {},
    },
    "build": {
        "model": {"file": "litert.int8.tflite", "parameters": None, "multiply_adds": None},
        "accuracy": accuracy(253, samples=256),
        "latency": [row("litert", "int8", 1, 0.009, samples=900)],
        "details": {},
        "engines": [
            {**each, "accuracy": accuracy(253, samples=256)} if each["latency"] else each
            for each in ENGINES
        ],
    },
    "benchmark": {
        "model": {"file": "litert.int8.tflite", "parameters": None, "multiply_adds": None},
        "accuracy": accuracy(355),
        "latency": [row("litert", "int8", 1, 0.008), row("litert", "int8", 32, 0.25)],
        "details": {
            "baseline": {
                "accuracy": accuracy(356),
                "latency": [
                    row("onnxruntime", "fp32", size, p50) for size, p50 in ((1, 0.056), (32, 1.0))
                ],
            },
            "conditions": {"load_average_before": 0.2},
        },
        "engines": ENGINES,
    },
}


def record(stage: str) -> Record:
    """The record.json of one stage."""
    own = ("data", stage) if stage in ("train", "prune", "quantize") else (stage,)
    return copy.deepcopy(
        {
            "record_version": 1,
            "stage": stage,
            "revision": 1,
            "key": sha256(stage, "key"),
            "settings": {section: SETTINGS[section] for section in own},
            "external": {},
            "inputs": {
                needed: {file: sha256(needed, file) for file in FILES[needed]}
                for needed in NEEDS[stage]
            },
            "environment": ENVIRONMENT,
            "started_at": "2026-07-01T10:00:00+00:00",
            "seconds": 12.5,
            "files": {
                file: {"sha256": sha256(stage, file), "size_bytes": size}
                for file, size in FILES[stage].items()
            },
            "measurements": MEASUREMENTS[stage],
        }
    )


def records(*stages: str) -> dict[str, Record]:
    """The records of these stages, of the whole line if none is named."""
    return {stage: record(stage) for stage in stages or LINE}


def judged(found: Mapping[str, Record], **measures: float) -> dict[str, Record]:
    """As records of another task: every model has these measures, and the first one decides."""
    other = copy.deepcopy(dict(found))
    for each in other.values():
        measured = each["measurements"]
        baseline = measured["details"].get("baseline")
        for judged in filter(None, [measured, baseline, *measured.get("engines", ())]):
            if was := judged["accuracy"]:
                judged["accuracy"] = {
                    "samples": was["samples"],
                    "metric": next(iter(measures)),
                    "measures": measures,
                }
    return other


def changed(found: Mapping[str, Record], stage: str) -> dict[str, Record]:
    """As if `stage` had been run again with another result, and nothing after it."""
    fresh = copy.deepcopy(dict(found))
    for file in fresh[stage]["files"].values():
        file["sha256"] = file["sha256"][::-1]
    return fresh


def parsed(found: Mapping[str, Record]) -> dict[str, record_module.Record]:
    """The sample records as the store reads them."""
    results = {stage.name: stage.result for stage in PLAN}
    return {
        stage: record_module.parse(json.dumps(raw).encode(), stage, results[stage])
        for stage, raw in found.items()
    }


def report_of(
    found: Mapping[str, Record] | None = None, states: Mapping[str, str] | None = None
) -> Report:
    """The report of these sample records, of the whole line if none are given."""
    return assemble(parsed(records() if found is None else found), states or {})
