"""The engines: one row each, from which everything that lists engines is derived.

An engine is one file of this package, or a folder, and one row here. The row is plain data, so
that settings, reports and `doctor` can read it where no runtime is installed. The order of the
rows is the order in which engines are built, opened and listed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

Precision = Literal["fp32", "fp16", "bf16", "int8", "fp8"]
Target = Literal["tensorrt", "cpu", "litert", "fp8"]
"""Whose rounding a quantized graph has: `cpu` is that of ONNX Runtime and its like, `fp8` that of
TensorRT in E4M3 in place of INT8."""

PRECISION_LABELS = {
    "fp32": "float32",
    "fp16": "FP16",
    "bf16": "BF16",
    "int8": "INT8",
    "fp8": "FP8",
}
ExtraPrecision = Literal["bf16", "fp8"]
"""Those whose graphs are written only if they are asked for."""
QUANTIZED = ("int8", "fp8")
"""Precisions in which activations and kernels have scales."""


FEW_CHANNELS = 4
"""LiteRT's INT8 kernels take channels by fours at least, and lose with fewer."""


@dataclass(frozen=True)
class EngineSpec:
    """One engine.

    packages     distributions that it needs, the runtime itself first
    suffix       ending of its engine files
    sources      precision -> the convert stage's file that the engine is built from
    rounding     whose rounding its INT8 engine has
    is_default   whether `build.backends` names it by default
    extra        the extra of pyproject.toml that installs it
    built, run   where it can be built and run, as in README's table
    """

    label: str
    module: str
    packages: tuple[str, ...]
    suffix: str
    device: Literal["cpu", "gpu"]
    sources: Mapping[Precision, str]
    rounding: Target
    is_default: bool
    extra: str
    built: str
    run: str

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """Those it can be built in."""
        return tuple(self.sources)


CPU_GRAPHS: Mapping[Precision, str] = {"fp32": "model.fp32.onnx", "int8": "model.int8.cpu.onnx"}
"""CPUs have no FP16 arithmetic: the runtimes compute such a graph in float32."""
# Never the CPU's INT8 graph: TensorRT-RTX 1.7 rejects UINT8 with a zero point, but silently accepts
# UINT8 with zero point 0 (decision 3).
TENSORRT_GRAPHS: Mapping[Precision, str] = {
    "fp32": "model.fp32.onnx",
    "fp16": "model.fp16.onnx",
    "bf16": "model.bf16.onnx",
    "int8": "model.int8.tensorrt.onnx",
    "fp8": "model.fp8.onnx",
}

# OpenVINO last of the CPU engines: it always takes AMX, for the whole process, which those that are
# faster without it must have declined before (decision 14).
ENGINES: dict[str, EngineSpec] = {
    "onnxruntime": EngineSpec(
        label="ONNX Runtime",
        module="stages.engines.onnxruntime",
        packages=("onnxruntime",),
        suffix=".onnx",
        device="cpu",
        sources=CPU_GRAPHS,
        rounding="cpu",
        is_default=True,
        extra="onnxruntime",
        built="anywhere",
        run="CPU",
    ),
    "litert": EngineSpec(
        label="LiteRT",
        module="stages.engines.litert",
        packages=("ai-edge-litert",),
        suffix=".tflite",
        device="cpu",
        sources={"fp32": "model.fp32.tflite", "int8": "model.int8.tflite"},
        rounding="litert",
        is_default=True,
        extra="litert",
        built="anywhere",
        run="CPU",
    ),
    "openvino": EngineSpec(
        label="OpenVINO",
        module="stages.engines.openvino",
        packages=("openvino",),
        suffix=".openvino",
        device="cpu",
        sources=CPU_GRAPHS,
        rounding="cpu",
        is_default=True,
        extra="openvino",
        built="on x86-64",
        run="CPU",
    ),
    "tensorrt": EngineSpec(
        label="TensorRT",
        module="stages.engines.tensorrt.engine",
        packages=("tensorrt", "pycuda"),
        suffix=".plan",
        device="gpu",
        sources=TENSORRT_GRAPHS,
        rounding="tensorrt",
        is_default=True,
        extra="gpu",
        built="on the GPU machine",
        run="NVIDIA GPU, through PyCUDA",
    ),
    "tensorrt_rtx": EngineSpec(
        label="TensorRT-RTX",
        module="stages.engines.tensorrt.rtx",
        packages=("tensorrt-rtx", "pycuda"),
        suffix=".rtx",
        device="gpu",
        sources=TENSORRT_GRAPHS,
        rounding="tensorrt",
        is_default=True,
        extra="rtx",
        built="anywhere on x86-64 Linux",
        run="NVIDIA GPU, through PyCUDA",
    ),
}


class EngineName(NamedTuple):
    """An engine of one precision, as in "litert.int8"."""

    backend: str
    precision: str

    @classmethod
    def parse(cls, text: str) -> EngineName:
        """ "litert.int8" -> EngineName("litert", "int8"); "litert" has the precision ""."""
        backend, _, precision = text.partition(".")
        return cls(backend, precision)

    def __str__(self) -> str:
        """As settings, file names and records write it: "litert.int8"."""
        return f"{self.backend}.{self.precision}"

    @property
    def words(self) -> str:
        """As tables write it: "litert int8"."""
        return f"{self.backend} {self.precision}"

    @property
    def label(self) -> str:
        """As prose writes it: "LiteRT INT8"."""
        return f"{backend_label(self.backend)} {precision_label(self.precision)}"


def backend_label(backend: str) -> str:
    """The runtime's own spelling: "litert" -> "LiteRT"; an unknown name as it is."""
    return ENGINES[backend].label if backend in ENGINES else backend


def precision_label(precision: str) -> str:
    """As in prose: "int8" -> "INT8"."""
    return PRECISION_LABELS.get(precision, precision)
