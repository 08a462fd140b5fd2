"""What `Engine.infer` adds to the bare call of its runtime, at batch 1.

    python benchmarks/overhead.py [--artifacts artifacts] [--seconds 2]

Prints a Markdown table; the goal is at most 5 us. The bare call is what a program would write by
hand: an array in, an array of its own out, without any check.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from stages.artifacts.signature import Signature
from stages.engines import records
from stages.engines.registry import ENGINES
from stages.measurement import clock
from stages.measurement.accuracy import batch_of


def onnxruntime(engine: Any, images: Any) -> Callable[[], object]:
    """`InferenceSession.run`."""
    feed = engine.signature.by_name(images)
    return lambda: engine._session.run(None, feed)[0]


def litert(engine: Any, images: Any) -> Callable[[], object]:
    """`Interpreter.invoke` between filling the input and fetching the output."""
    interpreter = engine._interpreter
    sources, (target, *_) = [index for index, _ in engine._inputs], engine._outputs
    pairs = list(zip(sources, engine.signature.by_name(images).values(), strict=True))

    def call() -> object:
        for source, array in pairs:
            interpreter.set_tensor(source, array)
        interpreter.invoke()
        return interpreter.get_tensor(target["index"])

    return call


def openvino(engine: Any, images: Any) -> Callable[[], object]:
    """`InferRequest.infer` with tensors that were set before."""

    pairs = list(zip(engine._inputs, engine.signature.by_name(images).values(), strict=True))

    def call() -> object:
        for held, array in pairs:
            held[...] = array
        engine._request.infer()
        return engine._outputs[0].copy()

    return call


BARE = {"onnxruntime": onnxruntime, "litert": litert, "openvino": openvino}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"))
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    folder = options.artifacts / "build"
    signature = Signature.read(folder)
    image = batch_of(np.load(folder / "samples.npz")["images"], signature, 1)
    calls = {}
    with ExitStack() as opened:
        for entry in records.read(folder):
            if entry.file and ENGINES[entry.backend].device == "cpu":
                engine = opened.enter_context(records.runner(entry, folder, signature, 1))
                engine.infer(image)
                calls[f"{entry.name} bare"] = BARE[entry.backend](engine, image)
                calls[str(entry.name)] = partial(engine.infer, image)
        times = clock.measure(calls, 0.2, options.seconds)
    p50_us = {name: 1000 * float(np.median(taken)) for name, taken in times.items()}
    print("| engine | bare call, p50 us | Engine.infer, p50 us | more |")
    print("| --- | ---: | ---: | ---: |")
    for name in calls:
        if not name.endswith(" bare"):
            bare = p50_us[f"{name} bare"]
            print(f"| {name} | {bare:.2f} | {p50_us[name]:.2f} | {p50_us[name] - bare:.2f} |")


if __name__ == "__main__":
    main()
