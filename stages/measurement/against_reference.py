"""One engine timed beside a reference, in turns: latencies of different hours then compare.

What the machine does meanwhile slows both: their ratio moves far less than either (decision 4).
The reference is the trained, unpruned model in ONNX Runtime float32, always the same file.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import numpy as np

from stages.artifacts.signature import Signature
from stages.engines import child, records
from stages.engines.child import ChildFailed
from stages.engines.cuda.memory import bus_id
from stages.engines.registry import ENGINES
from stages.errors import EngineError
from stages.measurement import turns
from stages.numerics import latency
from stages.results.base import GpuClocks
from stages.results.comparing import AgainstReference
from stages.results.engines import EngineRecord
from stages.settings import Benchmark, Gpu

REFERENCE = EngineRecord(**records.BASELINE_ENGINE._asdict(), file=records.BASELINE)

Windows = list[np.ndarray]


def measure(
    engine: EngineRecord,
    folder: Path,
    threads: int,
    reference: Path,
    batch_size: int,
    settings: Benchmark,
    gpu: Gpu,
) -> AgainstReference:
    """The engine in `folder` beside the baseline in the folder `reference`, in a child process.

    For as long as `settings` say. Raises EngineError.
    """
    arguments = (engine.model_dump_json(), str(folder), threads, str(reference), batch_size)
    options = (settings.model_dump_json(), gpu.model_dump_json())
    try:
        answer = child.answer(__name__, "print_measured", *arguments, *options)
    except ChildFailed as failure:
        raise EngineError(
            f"{engine.name} could not be timed: {failure.in_words}", "run: pipeline doctor"
        ) from failure
    return AgainstReference.model_validate_json(answer)


def print_measured(
    engine: str,
    folder: str,
    threads: int,
    reference: str,
    batch_size: int,
    benchmark: str,
    gpu: str,
) -> None:
    """In a child: time both and print the AgainstReference as JSON."""
    record, settings = (
        EngineRecord.model_validate_json(engine),
        Benchmark.model_validate_json(benchmark),
    )
    opened = {
        "reference": (REFERENCE, Path(reference), 1),
        "engine": (record, Path(folder), threads),
    }
    calls = {}
    # In this order: ONNX Runtime must be used before a library that asks for AMX (decision 14).
    for name, (each, place, count) in opened.items():
        signature = Signature.read(place)
        runner = records.runner(each, place, signature, count, Gpu.model_validate_json(gpu))
        runner.open()
        calls[name] = partial(runner.infer, signature.feed(signature.noise(batch_size)))
        calls[name]()
    is_on_gpu = ENGINES[record.backend].device == "gpu"
    windows, clocks = turns.until_stable(
        calls,
        lambda name: is_on_gpu and name == "engine",
        settings.warmup_seconds,
        settings.max_seconds_per_engine,
        bus_id() if is_on_gpu else None,
    )
    found = summarize(windows["engine"], windows["reference"], clocks)
    sys.stdout.write(found.model_dump_json() + "\n")


def summarize(
    engine: Windows, reference: Windows, clocks: tuple[GpuClocks, ...] = ()
) -> AgainstReference:
    """From the milliseconds of every call, float64 (calls,), in windows that took turns.

    `clocks` are of the GPU that the engine runs on, empty where it runs on the CPU.
    """
    pairs = zip(engine, reference, strict=False)  # one that used up its time has fewer windows
    ratios = [float(np.median(mine) / np.median(other)) for mine, other in pairs]
    low, high = latency.median_interval(ratios)
    p50_ms = float(np.median(np.concatenate(engine)))
    watts = [each.most_watts for each in clocks if each.most_watts]
    return AgainstReference(
        p50_ms=p50_ms,
        reference_p50_ms=float(np.median(np.concatenate(reference))),
        ratio=float(np.median(ratios)),
        ratio_low=low,
        ratio_high=high,
        stable=latency.is_stable(ratios),
        windows=len(ratios),
        millijoules=max(watts) * p50_ms if watts else None,
    )
