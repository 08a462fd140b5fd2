"""Artifacts that begin with `build`: one engine of ONNX Runtime for any task, in milliseconds.

The engines are arithmetic on the pixels, so that a test can say what comes out.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pipeline.core.record import Record
from pipeline.core.record import write as write_record
from pipeline.core.store import Store
from stages.artifacts.signature import Signature
from stages.engines import environment
from stages.results.engines import BuildResult, EngineResult

PLAIN = Signature((6, 4, 3), (), scale=1 / 255, offset=0.0, dtype="float32")

SIGNATURES = {
    "classification": replace(PLAIN, class_names=("r", "g", "b")),
    "binary": replace(
        PLAIN,
        class_names=("sound", "defect"),
        task="binary",
        output_shape=(1,),
        thresholds=(0.45,),
    ),
    "multilabel": replace(
        PLAIN,
        class_names=("red", "green", "blue"),
        output="probabilities",
        output_name="shares",
        task="multilabel",
        thresholds=(0.3, 0.5, 0.7),
    ),
    "regression": replace(
        PLAIN,
        class_names=("x", "y"),
        output="values",
        output_name="values",
        task="regression",
    ),
    "segmentation": replace(
        PLAIN,
        class_names=("mask", "a", "b"),
        task="segmentation",
        output_shape=(6, 4, 3),
    ),
    "one channel": replace(
        PLAIN,
        class_names=("back", "front"),
        task="segmentation",
        output_shape=(6, 4, 1),
        thresholds=(0.6,),
    ),
    "raw": replace(PLAIN, output="values", output_name="grid", task="raw", output_shape=(6, 4, 2)),
}
"""By what is asked: "one channel" is a segmentation with one value per pixel."""

WEIGHTS = {
    "classification": ([[3.0, 0, 0], [0, 3.0, 0], [0, 0, 3.0]], [0.0, 0.1, 0.2]),
    "binary": ([[4.0], [-2.0], [1.0]], [-1.0]),
    "multilabel": ([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]], [0.0, 0.0, 0.0]),
    "regression": ([[10.0, 0.5], [0.0, -20.0], [3.0, 0.0]], [5.0, -1.5]),
    "segmentation": ([[2.0, 0.0, 0.0], [0.0, 2.0, 0.5], [0.0, -1.0, 2.0]], [0.1, 0.0, 0.0]),
    "one channel": ([[5.0], [-5.0], [0.0]], [0.2]),
    "raw": ([[1.0, 0.0], [0.0, -1.0], [0.5, 0.5]], [0.0, 2.0]),
}


def images(count: int, seed: int = 0) -> NDArray[np.uint8]:
    """Random pixels (count, 6, 4, 3), each image with a colour of its own."""
    random = np.random.default_rng(seed)
    brightness = random.integers(1, 256, (count, 1, 1, 3))
    return random.integers(0, brightness + 1, (count, *PLAIN.input_shape)).astype(np.uint8)


def outputs(name: str, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """What the engine gives for pixels (N, 6, 4, 3): `WEIGHTS` on them or on their mean."""
    kernel, bias = map(np.asarray, WEIGHTS[name])
    values = pixels / 255
    if len(SIGNATURES[name].shape_of_output) == 1:
        values = values.mean(axis=(1, 2))
    return np.asarray(values @ kernel + bias, np.float64)


def write(
    root: Path,
    name: str,
    added: float = 0.0,
    names: tuple[str, ...] = (),
    usual: Signature | None = None,
    samples: NDArray[Any] | None = None,
) -> Path:
    """Make `root` an artifact folder with the stage build alone; every output has `added` more.

    `names` are those of classes, labels or values, instead of the usual ones; `usual` is a
    signature of other input than images, for the `samples` (N, ...).
    """
    usual = usual or SIGNATURES[name]
    signature = replace(usual, class_names=names or usual.class_names)
    with _artifact(root, name) as (folder, engines):
        file = "onnxruntime.fp32.onnx"
        onnx.save(_graph(name, signature, added), folder / file)
        signature.write(folder)
        np.savez(folder / "samples.npz", images=images(8) if samples is None else samples)
        engines.append(EngineResult(backend="onnxruntime", precision="fp32", file=file))
    return root


def adopt(root: Path, made: Path, found: BuildResult) -> Path:
    """Make `root` an artifact folder with what the stage build wrote to the folder `made`."""
    with _artifact(root, "adopted") as (folder, engines):
        shutil.copytree(made, folder, dirs_exist_ok=True)
        engines.extend(found.engines)
    return root


@contextmanager
def _artifact(root: Path, model: str) -> Iterator[tuple[Path, list[EngineResult]]]:
    """The folder of a stage build to be filled, and its engines to be listed."""
    store, engines = Store(root), list[EngineResult]()
    with store.writing("build") as folder:
        yield folder, engines
        settings: dict[str, Any] = {"build": {"batch_sizes": [1, 8]}, "model": {"name": model}}
        record = Record(
            stage="build",
            revision=9,
            key="k",
            settings=settings,
            external={},
            inputs={"convert": {}},
            environment=environment.describe().model_dump(),
            started_at="2026-01-01T00:00:00+00:00",
            seconds=1.0,
            files=store.list_files(folder),
            measurements=BuildResult(engines=tuple(engines)),
        )
        write_record(record, folder)


def _graph(name: str, signature: Signature, added: float) -> onnx.ModelProto:
    kernel, bias = (np.asarray(each, np.float32) for each in WEIGHTS[name])
    bias += np.float32(added)
    is_vector = len(signature.shape_of_output) == 1
    axes = list(range(1, len(signature.input_shape)))
    mean = [helper.make_node("ReduceMean", ["image"], ["mean"], axes=axes, keepdims=0)]
    nodes = [
        *(mean if is_vector else []),
        helper.make_node("MatMul", ["mean" if is_vector else "image", "kernel"], ["product"]),
        helper.make_node("Add", ["product", "bias"], [signature.output_name]),
    ]
    image, result = (
        helper.make_tensor_value_info(label, TensorProto.FLOAT, ["N", *shape])
        for label, shape in (
            ("image", signature.input_shape),
            (signature.output_name, signature.shape_of_output),
        )
    )
    constants = [numpy_helper.from_array(kernel, "kernel"), numpy_helper.from_array(bias, "bias")]
    graph = helper.make_graph(nodes, "task", [image], [result], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model
