"""TensorRT engines on this machine's GPU, beside a bare CUDA-graph replay of the same engines.

    python benchmarks/gpu.py CONVERT [--backends tensorrt] [--precisions fp16 int8]
                             [--batch-sizes 1 8 64] [--seconds 3] [--json FILE]

CONVERT is what the convert stage leaves, artifacts/convert. For every precision and batch size
an engine is built for just that batch, then timed in turns with the bare replay: a loop that
launches one CUDA graph (copy in, compute, copy out) on its own buffers and waits, with nothing of
this project around it but the two calls of the driver. Where trtexec is on the PATH it runs the
same engine file too. Prints a Markdown table and what it was measured on. Needs no TensorFlow.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from stages.artifacts.signature import Signature
from stages.engines import environment, modules, records, registry
from stages.engines.base import BuildRequest
from stages.engines.cuda.memory import CudaMemory
from stages.engines.registry import EngineName
from stages.engines.tensorrt.execution import create_context
from stages.errors import EngineError
from stages.measurement import clock, machine_state, throughput
from stages.measurement.accuracy import batch_of, logits
from stages.numerics import latency
from stages.numerics.classification import top1
from stages.settings import TensorRT

WARMUP_SECONDS = 0.5
PARTS_CALLS = 1000

COLUMNS = (
    *("engine", "batch", "end to end ms", "bare replay ms", "ratio", "H2D ms", "compute ms"),
    *("D2H ms", "enqueue ms", "pipelined images/s", "trtexec latency ms", "trtexec compute ms"),
    *("GPU MiB", "top-1 %", "stable"),
)


@contextmanager
def bare_replay(engine: Any, images: Any) -> Iterator[clock.Call]:
    """One CUDA graph of the opened engine for `images`, as a call that launches it and waits."""
    signature, plan = engine.signature, engine.execution.engine
    memory, graph = CudaMemory(), None
    try:
        context = create_context(engine.trt(), plan)
        source = memory.allocate(images.shape, images.dtype)
        target = memory.allocate((len(images), len(signature.class_names)))
        context.set_input_shape(signature.input_name, images.shape)
        context.set_tensor_address(signature.input_name, source.address)
        context.set_tensor_address(signature.output_name, target.address)
        source.host[:] = images

        def queue() -> None:
            memory.upload(source, len(images))
            if not context.execute_async_v3(memory.stream_handle):
                raise EngineError("the bare replay could not be queued")
            memory.download(target, len(images))

        queue()
        memory.synchronize()
        graph = memory.capture(queue)
        launch, wait = graph.launch, memory.synchronize

        def call() -> None:
            launch()
            wait()

        yield call
    finally:
        if graph is not None:
            graph.close()
        context = None
        memory.close()


def measure(
    backend: str, precision: Any, batch_size: int, convert: Path, folder: Path, options: Any
) -> dict[str, Any]:
    """Build, open and time one engine; a row for COLUMNS. Raises EngineError."""
    module, signature = modules.load(backend), Signature.read(convert)
    records.require(module.build_blocker())
    records.require(module.run_blocker())
    name = EngineName(backend, precision)
    file = folder / f"{name}.b{batch_size}{registry.ENGINES[backend].suffix}"
    request = BuildRequest(
        signature,
        precision,
        batch_size,
        batch_size,
        tensorrt=TensorRT(optimization_level=options.optimization_level),
    )
    built = module.build(convert / modules.source_file(name), file, request)
    layers = built.layers if built else ()
    samples = np.load(convert / "samples.npz")
    images = batch_of(samples["images"], signature, batch_size)
    engine: Any = module.Runner(file, signature)
    with engine, bare_replay(engine, images) as bare:
        calls = {"engine": partial(engine.infer, images), "bare": bare}
        windows = clock.until_stable(calls, WARMUP_SECONDS, options.seconds)
        p50 = {name: float(np.median(np.concatenate(each))) for name, each in windows.items()}
        medians = {name: [float(np.median(one)) for one in each] for name, each in windows.items()}
        outputs = logits(engine, samples["images"], batch_size)
        row = {
            "engine": str(name),
            "batch": batch_size,
            "end to end ms": p50["engine"],
            "bare replay ms": p50["bare"],
            "ratio": p50["engine"] / p50["bare"],
            **parts(engine.time_parts(images, PARTS_CALLS)),
            "pipelined images/s": throughput.pipelined_images_per_second(
                engine, images, options.seconds
            ),
            "GPU MiB": engine.gpu_memory_mib,
            "top-1 %": 100 * top1(outputs, samples["labels"]),
            "stable": all(map(latency.is_stable, medians.values())),
            "window_p50_ms": medians,
            "layers": [layer.model_dump(mode="json") for layer in layers],
        }
    return row | trtexec(file, signature, batch_size, options.seconds)


def parts(found: dict[str, float]) -> dict[str, float]:
    """The columns of time_parts."""
    names = {"h2d_ms": "H2D ms", "compute_ms": "compute ms", "d2h_ms": "D2H ms"}
    return {names.get(key, "enqueue ms"): ms for key, ms in found.items()}


def trtexec(file: Path, signature: Signature, batch_size: int, seconds: float) -> dict[str, Any]:
    """Medians that trtexec prints for the same engine file; nothing where it is missing."""
    name = {".plan": "trtexec", ".rtx": "tensorrt_rtx"}[file.suffix]
    program = shutil.which(name)
    if program is None:
        return {}
    shape = "x".join(map(str, (batch_size, *signature.input_shape)))
    words = (
        f"--loadEngine={file}",
        f"--shapes={signature.input_name}:{shape}",
        "--useCudaGraph",
        f"--duration={max(1, round(seconds))}",
    )
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    return read_trtexec(done.stdout)


def read_trtexec(text: str) -> dict[str, float]:
    """The medians in the summary of trtexec."""
    wanted = {"Latency": "trtexec latency ms", "GPU Compute Time": "trtexec compute ms"}
    found = {
        column: re.search(rf"\] {name}: .*?median = ([\d.]+) ms", text)
        for name, column in wanted.items()
    }
    return {column: float(match[1]) for column, match in found.items() if match}


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    for row in rows:
        lines.append("| " + " | ".join(cell(row.get(name)) for name in COLUMNS) + " |")
    return "\n".join(lines)


def cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "UNSTABLE"
    if isinstance(value, float):
        return f"{value:.0f}" if value >= 1000 else f"{value:.4f}"
    return str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("convert", type=Path, help="folder that the convert stage leaves")
    gpu = [name for name, row in registry.ENGINES.items() if row.device == "gpu"]
    parser.add_argument("--backends", nargs="+", choices=gpu, default=gpu)
    parser.add_argument("--precisions", nargs="+", default=["fp32", "fp16", "int8"])
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[1, 8, 64])
    parser.add_argument("--seconds", type=float, default=3.0, help="of timing per engine")
    parser.add_argument("--optimization-level", type=int, default=3)
    parser.add_argument("--json", type=Path, help="file for all that was measured")
    options = parser.parse_args()
    before, rows = machine_state.gpus(), []
    with tempfile.TemporaryDirectory() as folder:
        for backend in options.backends:
            for precision in options.precisions:
                for size in options.batch_sizes:
                    try:
                        found = measure(
                            backend, precision, size, options.convert, Path(folder), options
                        )
                        rows.append(found)
                    except EngineError as error:
                        print(f"{backend}.{precision} b{size}: {error.message}", file=sys.stderr)
    print(table(rows))
    content = {
        "command": " ".join(sys.argv),
        "machine": environment.describe().model_dump(mode="json"),
        "gpus": {"before": before, "after": machine_state.gpus()},
        "rows": rows,
    }
    print(f"\n{json.dumps({key: content[key] for key in ('command', 'machine', 'gpus')})}")
    if options.json:
        options.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
