"""Every engine of a finished run beside the usual ways to run its Keras model, timed in turns.

    python benchmarks/speed.py [--artifacts artifacts] [--batch-size 1] [--seconds 3]

Prints a Markdown table: median, and how many times faster than the trained model's float32
engine in ONNX Runtime and than its compiled tf.function. One process, interleaved windows.
"""

from __future__ import annotations

import argparse
import os
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf

from stages import keras_files, timing
from stages.engines import inventory, load
from stages.engines.inventory import BASELINE
from stages.signature import Signature

YARDSTICKS = ("trained model, onnxruntime fp32", "trained model, tf.function")


def keras_calls(folder: Path, images: np.ndarray) -> dict[str, timing.Call]:
    """The trained and the pruned model as compiled functions."""
    calls = {}
    for stage, name in (("train", "trained"), ("prune", "pruned")):
        model = keras_files.load(folder / stage / "model.keras")
        batch = tf.constant(images)
        forward = tf.function(partial(model, training=False), jit_compile=False)
        forward = forward.get_concrete_function(tf.TensorSpec(batch.shape, batch.dtype))
        calls[f"{name} model, tf.function"] = lambda f=forward, b=batch: f(b).numpy()
    return calls


def engine_calls(folder: Path, images: np.ndarray, opened: ExitStack) -> dict[str, timing.Call]:
    """The baseline engine and every engine that runs here, with one thread."""
    build = folder / "build"
    signature = Signature.read(build)
    baseline = load("onnxruntime").Runner(build / BASELINE, signature, 1)
    calls = {YARDSTICKS[0]: partial(opened.enter_context(baseline).infer, images)}
    for entry in inventory.read(build):
        if entry.file and load(entry.backend).run_blocker() is None:
            engine = opened.enter_context(inventory.runner(entry, build, signature, 1))
            calls[f"engine {entry.backend} {entry.precision}"] = partial(engine.infer, images)
    return calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"))
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    samples = np.load(options.artifacts / "build" / "samples.npz")["images"]
    signature = Signature.read(options.artifacts / "build")
    images = signature.preprocess(np.resize(samples, (options.batch_size, *samples.shape[1:])))
    with ExitStack() as opened:
        calls = engine_calls(options.artifacts, images, opened)
        calls |= keras_calls(options.artifacts, images)
        times = timing.measure(calls, 0.5, options.seconds)
    p50 = {name: float(np.median(taken)) for name, taken in times.items()}
    print(f"| batch {options.batch_size} | p50 ms | x {YARDSTICKS[0]} | x {YARDSTICKS[1]} |")
    print("| --- | ---: | ---: | ---: |")
    for name, value in sorted(p50.items(), key=lambda item: -item[1]):
        ratios = " | ".join(f"{p50[yardstick] / value:.1f}" for yardstick in YARDSTICKS)
        print(f"| {name} | {value:.4f} | {ratios} |")


if __name__ == "__main__":
    main()
