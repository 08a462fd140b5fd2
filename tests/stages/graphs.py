"""A small classifier as every graph that the convert stage writes, made without Keras.

image (N, 8, 8, C) - Transpose - Conv 16 - ReLU - MaxPool - Flatten - Gemm - logits (N, 4)
"""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from stages.artifacts.signature import Signature
from stages.datasets import carried
from stages.datasets.base import Split
from stages.results.conversion import CarriedImages

SIGNATURE = Signature((8, 8, 1), ("a", "b", "c", "d"), scale=1 / 255, offset=0.0)
FILTERS, CLASSES = 16, 4
VALIDATION_SAMPLES = 40
CARRIED = 40
CONV_RANGE = 3.0
"""Largest activation after the convolution that the INT8 graphs can hold."""

GRAPHS = {
    "baseline.fp32.onnx": "fp32",
    "model.fp32.onnx": "fp32",
    "model.fp16.onnx": "fp16",
    "model.bf16.onnx": "bf16",
    "model.fp8.onnx": "fp8",
    "model.int8.cpu.onnx": "int8.cpu",
    "model.int8.tensorrt.onnx": "int8.tensorrt",
    "model.int8.tensorrt8.onnx": "int8.tensorrt8",
}


def signature(channels: int) -> Signature:
    """That of the classifier for gray (1) or coloured (3) images."""
    return dataclasses.replace(SIGNATURE, input_shape=(8, 8, channels))


def weights(channels: int = 1) -> dict[str, NDArray[np.float32]]:
    """Kernels in ONNX' layout: conv (16, channels, 3, 3), dense (4, 16 * 3 * 3)."""
    random = np.random.default_rng(7)
    drawn = {
        "conv": random.normal(0, 0.4, (FILTERS, channels, 3, 3)),
        "conv_bias": random.normal(0, 0.1, FILTERS),
        "dense": random.normal(0, 0.2, (CLASSES, FILTERS * 9)),
        "dense_bias": random.normal(0, 0.1, CLASSES),
    }
    return {name: values.astype(np.float32) for name, values in drawn.items()}


def graph(kind: str, channels: int = 1) -> onnx.ModelProto:
    """The classifier as one of the values of GRAPHS."""
    return _Graph(kind, channels).model()


class _Graph:
    def __init__(self, kind: str, channels: int) -> None:
        self.channels = channels
        self.half = kind in ("fp16", "bf16", "int8.tensorrt", "fp8")
        self.quantized, self.fp8 = kind.startswith("int8") or kind == "fp8", kind == "fp8"
        self.levels: Any = np.uint8 if kind == "int8.cpu" else np.int8
        if self.fp8:
            self.levels = ml_dtypes.float8_e4m3fn
        self.opset = 22 if kind == "bf16" else 19 if self.half else 17
        self.dtype: Any = np.float16 if self.half else np.float32
        if kind == "bf16":
            self.dtype = ml_dtypes.bfloat16
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def model(self) -> onnx.ModelProto:
        values = weights(self.channels)
        x = "image"
        if self.half:
            x = self.add("Cast", [x], to=helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype)))
        x = self.add("Transpose", [x], perm=[0, 3, 1, 2])
        kernel = [self.activation(x, 1.0), self.kernel("conv", values), self.bias("conv", values)]
        x = self.add("Conv", kernel, kernel_shape=[3, 3])
        x = self.add("Relu", [x])
        if self.levels == np.uint8:  # ONNX Runtime fuses ReLU with a Q that follows at once
            x = self.activation(x, CONV_RANGE)
        x = self.add("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2])
        x = self.activation(self.add("Flatten", [x]), CONV_RANGE)
        x = self.add(
            "Gemm", [x, self.kernel("dense", values), self.bias("dense", values)], transB=1
        )
        self.add("Cast" if self.half else "Identity", [x], "logits", **self.to_float())
        return self.checked()

    def to_float(self) -> dict[str, int]:
        return {"to": TensorProto.FLOAT} if self.half else {}

    def activation(self, x: str, largest: float) -> str:
        if not self.quantized:
            return x
        steps = 448 if self.fp8 else 255 if self.levels == np.uint8 else 127
        scale = self.constant(np.asarray(largest / steps, self.dtype))
        zero = self.constant(np.asarray(0, self.levels))
        return self.add("DequantizeLinear", [self.add("QuantizeLinear", [x, scale, zero]), scale])

    def kernel(self, name: str, values: dict[str, NDArray[np.float32]]) -> str:
        kernel = values[name]
        if not self.quantized:
            return self.constant(kernel.astype(self.dtype))
        if self.fp8:
            whole = np.float16(np.abs(kernel).max() / 448)
            stored = np.clip(kernel / np.float32(whole), -448, 448).astype(self.levels)
            return self.add("DequantizeLinear", [self.constant(stored), self.constant(whole)])
        scales = np.abs(kernel).reshape(len(kernel), -1).max(axis=1) / 127
        levels = np.rint(kernel / scales.reshape(-1, *[1] * (kernel.ndim - 1))).astype(np.int8)
        inputs = [self.constant(levels), self.constant(scales.astype(self.dtype))]
        return self.add("DequantizeLinear", inputs, axis=0)

    def bias(self, name: str, values: dict[str, NDArray[np.float32]]) -> str:
        return self.constant(values[f"{name}_bias"].astype(self.dtype))

    def constant(self, values: NDArray[Any] | np.float16) -> str:
        name = f"constant_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def add(self, op: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        output = output or f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def checked(self) -> onnx.ModelProto:
        image = helper.make_tensor_value_info(
            "image", TensorProto.FLOAT, ["N", 8, 8, self.channels]
        )
        logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", CLASSES])
        body = helper.make_graph(self.nodes, "small", [image], [logits], self.initializers)
        opsets = [helper.make_opsetid("", self.opset)]
        model = helper.make_model(body, opset_imports=opsets, ir_version=9)
        onnx.checker.check_model(model, full_check=True)
        return model


def reference(kind: str, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the graph means, node by node, by ONNX' own definitions.

    Those of Q/DQ begin with opset 19, where they are what they were before, FP16 aside.
    """
    model = graph(kind, images.shape[3])
    model.opset_import[0].version = max(19, model.opset_import[0].version)
    logits: NDArray[np.float32] = ReferenceEvaluator(model).run(None, {"image": images})[0]
    return logits


def images(count: int, seed: int = 0, channels: int = 1) -> NDArray[np.uint8]:
    """Random pixels (count, 8, 8, channels)."""
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8, channels), np.uint8)


def write_converted(folder: Path, channels: int = 1) -> CarriedImages:
    """What the convert stage leaves; the labels are what the float32 graph says.

    It carries 40 of 64 test images.
    """
    for file, kind in GRAPHS.items():
        onnx.save(graph(kind, channels), folder / file)
    signature(channels).write(folder)
    pixels = images(64, channels=channels)
    logits = reference("fp32", SIGNATURE.preprocess(pixels))
    labels = np.argmax(logits, axis=1)
    others = images(VALIDATION_SAMPLES, seed=1, channels=channels)
    unseen = {
        "validation_images": others,
        "validation_labels": np.argmax(reference("fp32", SIGNATURE.preprocess(others)), axis=1),
    }
    np.savez(folder / "samples.npz", images=pixels, labels=labels, logits=logits, **unseen)
    return carried.write(Split(pixels, labels), CARRIED, folder)


def write_tflite(folder: Path) -> None:
    """The same classifier from TensorFlow's converter: INT8 inside, float and INT8 outside."""
    np.savez(folder / "weights.npz", **weights(), samples=SIGNATURE.preprocess(images(64)))
    script = Path(__file__).with_name("make_tflite.py")
    done = subprocess.run([sys.executable, script, folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
