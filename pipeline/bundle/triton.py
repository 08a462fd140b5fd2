"""A model repository of NVIDIA Triton, for `pipeline export --format triton`.

<name>/config.pbtxt   input, output, batches and instances, as inference.ModelConfig
<name>/labels.txt     the names of the classes, which Triton adds to the best outputs on request;
                      not where the largest output is no answer
<name>/1/             the bundle, whole; model.py is in it where Triton has no backend of its own
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

from pipeline.bundle import contents, program
from pipeline.bundle.contents import Bundle
from stages.artifacts.signature import Signature
from stages.engines.base import BuildRequest
from stages.engines.registry import ENGINES, EngineName, Precision
from stages.errors import SettingsError

CONFIG = "config.pbtxt"
PROGRAM = "model.py"
VERSION = "1"
PLATFORMS = {"onnxruntime": "onnxruntime_onnx", "tensorrt": "tensorrt_plan"}
"""Engines that Triton runs by itself."""
PYTHON = ("litert", "openvino")
"""Engines that model.py runs."""
TYPES = {"uint8": "TYPE_UINT8", "float32": "TYPE_FP32"}

PAD_NODE = b'"\x03Pad'
"""In an ONNX file: NodeProto.op_type, a text of three bytes."""


def check(engine: EngineName, signature: Signature, is_stripped: bool) -> None:
    """Raises SettingsError for an engine that Triton cannot serve."""
    if engine.backend not in (*PLATFORMS, *PYTHON):
        raise SettingsError(
            f"Triton has no backend for {ENGINES[engine.backend].label} engines, and none is "
            "written for its Python backend",
            f"name another with --engine, of one of: {', '.join((*PLATFORMS, *PYTHON))}",
        )
    if is_stripped:
        raise SettingsError(
            f"the plan of {engine} holds no weights, and Triton opens plans that do",
            "run: pipeline run build --set tensorrt.weight_stripped=false",
        )
    if signature.batch_size:
        raise SettingsError(
            f"{engine} takes a batch of {signature.batch_size} and no other, expected a batch "
            "dimension: Triton gathers as many images as there are",
            "run: pipeline run all --set convert.batch_size=0",
        )


def write_program(folder: Path, backend: str) -> None:
    """Write model.py into the new `folder`, if Triton needs it for engines of `backend`."""
    folder.mkdir()
    if backend in PYTHON:
        (folder / PROGRAM).write_text(program.model(backend), encoding="utf-8")


def repository(folder: Path, bundle: Bundle, batch_sizes: Sequence[int], to: Path) -> Path:
    """Make the bundle in `folder` the only version of the only model in the new folder `to`.

    `batch_sizes` are those that the engine was built and chosen for.
    """
    model = to / model_name(bundle)
    model.mkdir(parents=True)
    (model / CONFIG).write_text(
        "\n".join(config(bundle, batch_sizes, (folder / bundle.engine.file).read_bytes())) + "\n",
        encoding="utf-8",
    )
    if bundle.output.task == "classification":
        shutil.copyfile(folder / contents.LABELS, model / contents.LABELS)
    folder.rename(model / VERSION)
    return to


def model_name(bundle: Bundle) -> str:
    """The network's, as a folder's name that needs no quotes in an address."""
    stem = Path(bundle.network).name.removesuffix(".keras").removesuffix(".h5")
    return re.sub(r"[^A-Za-z0-9_-]+", "_", stem).strip("_") or "model"


def config(bundle: Bundle, batch_sizes: Sequence[int], engine: bytes) -> Iterator[str]:
    """The lines of config.pbtxt for the file content `engine`."""
    backend = bundle.engine.backend
    largest = bundle.engine.max_batch_size or max(batch_sizes)
    yield f"# {bundle.engine.name.label}; the folder's name is the model's name."
    yield f'platform: "{PLATFORMS[backend]}"' if backend in PLATFORMS else 'backend: "python"'
    yield f"default_model_filename: {_text(PROGRAM if backend in PYTHON else bundle.engine.file)}"
    yield f"max_batch_size: {largest}"
    for source in bundle.each_input:
        yield "input {"
        yield f"  name: {_text(source.name)}"
        yield f"  data_type: {TYPES[source.dtype]}"
        yield f"  dims: {list(source.shape)}"
        yield "}"
    for output in bundle.outputs or (bundle.output,):
        yield "output {"
        yield f"  name: {_text(output.name)}"
        yield "  data_type: TYPE_FP32"
        yield f"  dims: {list(output.shape)}"
        if bundle.output.task == "classification":
            yield f"  label_filename: {_text(contents.LABELS)}"
        yield "}"
    if largest > 1:
        sizes = [size for size in sorted(batch_sizes) if 1 < size <= largest]
        yield f"dynamic_batching {{ preferred_batch_size: {sizes or [largest]} }}"
    yield from _instances(bundle, batch_sizes)
    if backend == "onnxruntime":
        yield from _onnxruntime(bundle.engine.threads, PAD_NODE in engine)


def _instances(bundle: Bundle, batch_sizes: Sequence[int]) -> Iterator[str]:
    if ENGINES[bundle.engine.backend].device == "gpu":
        # Triton takes the one that fits a batch; unless told of them, always the first.
        names = [str(index) for index in range(_profiles(bundle, batch_sizes))]
        yield f"instance_group {{ count: 1 kind: KIND_GPU profile: {json.dumps(names)} }}"
        return
    cores, threads = bundle.built_on.cpu.cores or 1, bundle.engine.threads
    yield f"# Of the {cores} cores of the machine that built it, {threads} for each instance."
    yield f"instance_group {{ count: {max(1, cores // threads)} kind: KIND_CPU }}"


def _profiles(bundle: Bundle, batch_sizes: Sequence[int]) -> int:
    """The number of optimisation profiles in a TensorRT engine that was built for `batch_sizes`."""
    precision = cast(Precision, bundle.engine.precision)
    largest = bundle.engine.max_batch_size
    return len(BuildRequest(bundle.signature, precision, largest, tuple(batch_sizes)).profiles)


def _onnxruntime(threads: int, has_padding: bool) -> Iterator[str]:
    yield f'parameters {{ key: "intra_op_thread_count" value {{ string_value: "{threads}" }} }}'
    if has_padding:
        # See WRONG_FUSIONS in stages/engines/onnxruntime.py; Triton cannot switch off one alone.
        yield "# ONNX Runtime would fuse zero padding wrongly. The file is optimised already."
        yield "optimization { graph { level: 2 } }"


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def how_to_serve(to: Path, bundle: Bundle) -> Iterator[str]:
    """Commands, a line each."""
    version = to / model_name(bundle) / VERSION
    if bundle.engine.backend in PYTHON:
        yield (
            f"for the server's Python: pip install --target {version / 'packages'} "
            f"--requirement {version / contents.REQUIREMENTS}"
        )
    yield f"to serve it: tritonserver --model-repository {to}"
