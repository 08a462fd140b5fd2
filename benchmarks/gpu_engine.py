"""One precision of a GPU engine, built for one batch size after the other and measured.

    python benchmarks/gpu_engine.py CONVERT ENGINE ROWS --batch-sizes 1 64 --seconds 3

A child of gpu.py. Whatever is known of an engine is added to the file ROWS at once, as lines
{"engine", "batch", ...}: what follows may take the process down. The last line of a batch size
has "done", or the "reason" why it could not be measured. Where a part failed, CUDA may be of no
more use to this process: it ends with AGAIN, to be started again for the batch sizes that remain.
"""

from __future__ import annotations

import argparse
import ctypes
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import gpu_bare
import gpu_power
import gpu_rows
import numpy as np

from stages.artifacts.signature import Signature
from stages.build import check_parity
from stages.datasets import carried
from stages.datasets.base import Split
from stages.engines import modules, records, registry
from stages.engines.base import BuildReport, BuildRequest, Engine
from stages.engines.cuda.memory import DRIVER_LIBRARY
from stages.engines.registry import EngineName
from stages.engines.tensorrt.kernel_names import only_moves
from stages.errors import EngineError
from stages.measurement import throughput, turns
from stages.measurement.accuracy import accuracy, batch_of, logits
from stages.measurement.parity import KERAS_FLOAT
from stages.numerics import latency
from stages.numerics.classification import top1
from stages.settings import Gpu, TensorRT

WARMUP_SECONDS = 0.5
PARTS_SECONDS = 0.2
FEWEST_CALLS, MOST_CALLS = 5, 1000
VARIANTS = {
    **{"spin": Gpu(wait="spin"), "block": Gpu(wait="block")},
    "mapped": Gpu(input="mapped"),
}
STREAMS = (1, 4)
"""Beside the 2 of the settings' default."""
VARIED = (1, 64)
"""Batch sizes at which the two above are measured: each opens the engine again."""
AGAIN = 75


def build(engine: EngineName, batch: int, options: Any, folder: Path) -> tuple[Path, dict]:
    """The engine file for just that batch size, and what building it took. Raises EngineError."""
    module = modules.load(engine.backend)
    records.require(module.build_blocker())
    folder.mkdir()
    file = folder / f"{engine}.b{batch}{registry.ENGINES[engine.backend].suffix}"
    request = BuildRequest(
        Signature.read(options.convert),
        engine.precision,  # type: ignore[arg-type]
        batch,
        (batch,),
        tensorrt=TensorRT(optimization_level=options.optimization_level),
    )
    source = options.convert / modules.source_file(engine)
    if not source.is_file():
        raise EngineError(f"there is no {source.name}", "run: gpu_prepare.py")
    start = time.perf_counter()
    report = module.build(source, file, request) or BuildReport()
    found = {"build_s": time.perf_counter() - start, "file_mb": file.stat().st_size / 1e6}
    if engine.backend == "tensorrt" and batch == options.batch_sizes[0]:
        start = time.perf_counter()
        module.build(source, folder / f"again{file.suffix}", request)
        found["build_with_timing_cache_s"] = time.perf_counter() - start
    return file, found | describe(report)


def describe(report: BuildReport) -> dict[str, Any]:
    """The layers that the builder or the inspector tells of."""
    return {
        "kernels": len(report.layers) or None,
        "kernels_by_precision": dict(Counter(layer.executed for layer in report.layers)),
        "kernels_by_kind": dict(Counter(layer.kind for layer in report.layers)),
        "not_as_requested": sum(
            bool(layer.requested) and layer.requested != layer.executed for layer in report.layers
        ),
        "remarks": report.remarks,
        "layers": [layer.model_dump(mode="json") for layer in report.layers],
    }


def measure(
    name: EngineName,
    engine: Engine,
    samples: Any,
    test: Split,
    images: Any,
    seconds: float,
    varied: Collection[int],
    kinds: Mapping[str, str | None],
) -> Iterator[dict[str, Any]]:
    """Of the opened `engine`, part by part; one that fails is named and costs no other.

    `kinds` are those of the built layers, by name.
    """
    steps: dict[str, Callable[[], dict[str, Any]]] = {
        "accuracy": lambda: judge(name, engine, samples, test, len(images)),
        "latency": lambda: time_calls(engine, images, seconds),
        "parts": lambda: time_parts(engine, images),
        "replay": lambda: time_replay(engine, images, seconds),
        "throughput": lambda: saturate(engine, images, seconds),
        "layer_times": lambda: time_layers(engine, images, kinds),
    }
    if len(images) in varied:
        steps["variants"] = lambda: vary(engine, images, seconds / 3)
    for step, found in steps.items():
        try:
            yield found()
        except Exception as error:
            yield {f"{step}_failed": f"{type(error).__name__}: {error}"[:300]}


def judge(
    name: EngineName, engine: Engine, samples: Any, test: Split, batch: int
) -> dict[str, Any]:
    """Accuracy on the carried test images; on the samples also how far it is from Keras."""
    images = samples["images"]
    outputs = logits(engine, images, batch)
    check = check_parity(name, samples, outputs, engine.signature)
    return {
        "top1": accuracy(engine, test.images, test.labels, batch).top1,
        "images": len(test),
        "samples_top1": top1(outputs, samples["labels"]),
        "keras_samples_top1": top1(samples[KERAS_FLOAT], samples["labels"]),
        "samples": len(images),
        "parity": check.model_dump(mode="json") if check else None,
        "gpu_mib": engine.gpu_memory_mib,
    }


def time_calls(engine: Any, images: Any, seconds: float) -> dict[str, Any]:
    """Calls of `infer` in turns with launches of the same CUDA graph and nothing else."""
    calls: dict[str, Callable[[], Any]] = {"infer": partial(engine.infer, images)}
    graph = captured(engine, images)
    if graph is not None:
        driver = ctypes.CDLL(DRIVER_LIBRARY)
        launch, wait = driver.cuGraphLaunch, driver.cuStreamSynchronize

        def replay() -> None:
            launch(graph.executable, graph.stream)
            wait(graph.stream)

        calls["bare"] = replay
    windows, clocks = turns.until_stable(calls, is_on_gpu, min(WARMUP_SECONDS, seconds), seconds)
    taken = {name: np.concatenate(each) for name, each in windows.items()}
    medians = {name: [float(np.median(one)) for one in each] for name, each in windows.items()}
    found: dict[str, Any] = {
        f"{name}_{key}": float(value)
        for name, each in taken.items()
        for key, value in zip(("p50_ms", "p99_ms"), np.percentile(each, (50, 99)), strict=True)
    }
    found |= {"calls": len(taken["infer"]), "window_p50_ms": medians}
    found["stable"] = all(map(latency.is_stable, medians.values()))
    found["gpu_clocks"] = [each.model_dump(mode="json") for each in clocks]
    if graph is not None:
        found["infer_by_bare"] = found["infer_p50_ms"] / found["bare_p50_ms"]
    return found


def is_on_gpu(name: str) -> bool:
    """All that is timed here."""
    return True


def captured(engine: Any, images: Any) -> Any:
    """The CUDA graph of a call; None where the runtime has none."""
    for _ in range(2):  # the first call of a batch size is never captured
        engine.infer(images)
    return engine.execution.graph


def time_parts(engine: Engine, images: Any) -> dict[str, Any]:
    """The copies, the computation and queueing it, each back to back."""
    calls = affordable_calls(engine, images)
    return {
        **(engine.time_parts(images, calls) or {}),
        "empty_graph_ms": gpu_bare.empty_graph_ms(calls),
    }


def affordable_calls(engine: Engine, images: Any) -> int:
    """As many as take about PARTS_SECONDS, within limits."""
    start = time.perf_counter()
    engine.infer(images)
    each = time.perf_counter() - start
    return max(FEWEST_CALLS, min(MOST_CALLS, round(PARTS_SECONDS / each)))


def time_replay(engine: Any, images: Any, seconds: float) -> dict[str, Any]:
    """The same CUDA graph in a loop of C++."""
    graph = captured(engine, images)
    calls = affordable_calls(engine, images) * max(1, round(seconds / PARTS_SECONDS))
    found = None if graph is None else gpu_bare.cpp_replay_ms(graph, calls)
    return {} if found is None else {"cpp_replay_p50_ms": found}


def saturate(engine: Engine, images: Any, seconds: float) -> dict[str, Any]:
    """Images per second with the copies behind the computation, and the energy of one."""
    with gpu_power.sampled() as power:
        rate = throughput.pipelined_images_per_second(engine, images, seconds)
    found: dict[str, Any] = {"images_per_second": rate, "power": power}
    if "watts" in power:
        found["millijoules_per_image"] = 1000.0 * power["watts"] / rate
    return found


def vary(engine: Engine, images: Any, seconds: float) -> dict[str, Any]:
    """With other settings of the section `gpu`, for each of which the engine is opened again:
    latency of all in turns, and throughput by streams.
    """
    again = partial(type(engine), engine.file, engine.signature)
    with ExitStack() as opened:
        calls = {
            name: partial(opened.enter_context(again(gpu=gpu)).infer, images)
            for name, gpu in VARIANTS.items()
        }
        windows, _ = turns.until_stable(calls, is_on_gpu, min(WARMUP_SECONDS, seconds), seconds)
    found = {
        f"{name}_p50_ms": float(np.median(np.concatenate(each))) for name, each in windows.items()
    }
    for streams in STREAMS:
        with again(gpu=Gpu(streams=streams)) as other:
            rate = throughput.pipelined_images_per_second(other, images, seconds / 2)
            found[f"images_per_second_s{streams}"] = rate
    return found


def time_layers(engine: Engine, images: Any, kinds: Mapping[str, str | None]) -> dict[str, Any]:
    """What TensorRT says of every kernel, in calls without a graph."""
    found = engine.layer_milliseconds(images, min(100, affordable_calls(engine, images))) or {}
    moves = sum(ms for name, ms in found.items() if only_moves(name, kinds.get(name)))
    total = sum(found.values())
    return {
        "kernel_sum_ms": total,
        "moves_share": moves / total if total else None,
        "layer_ms": found,
    }


def examine(name: EngineName, batch: int, options: Any, folder: Path) -> Iterator[dict[str, Any]]:
    """Everything about one batch size, as it becomes known. Raises EngineError."""
    module, signature = modules.load(name.backend), Signature.read(options.convert)
    file, found = build(name, batch, options, folder)
    kinds = {layer["name"]: layer["kind"] for layer in found["layers"]}
    yield found
    records.require(module.run_blocker())
    samples, test = np.load(options.convert / "samples.npz"), carried.read(options.convert)
    images = batch_of(samples["images"], signature, batch)
    engine = module.Runner(file, signature)
    start = time.perf_counter()
    with engine:
        yield {"open_ms": 1000 * (time.perf_counter() - start)}
        yield from measure(name, engine, samples, test, images, options.seconds, VARIED, kinds)
    yield gpu_bare.trtexec(file, signature, batch, options.seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("convert", type=Path)
    parser.add_argument("engine", type=EngineName.parse)
    parser.add_argument("rows", type=Path)
    parser.add_argument("--batch-sizes", nargs="+", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--optimization-level", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for batch in options.batch_sizes:
            key = {"engine": str(options.engine), "batch": batch}
            failed = False
            try:
                for found in examine(options.engine, batch, options, Path(folder) / str(batch)):
                    gpu_rows.append(options.rows, key | found)
                    failed = failed or any(each.endswith("_failed") for each in found)
                gpu_rows.append(options.rows, key | {"done": True})
            except EngineError as error:
                gpu_rows.append(options.rows, key | {"reason": error.message, "fix": error.hint})
            if failed:
                sys.exit(AGAIN)


if __name__ == "__main__":
    main()
