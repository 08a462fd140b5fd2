"""The chosen engine of the pruned network beside the usual ways to run the trained one.

    pipeline run all --artifacts A [--config FILE]
    mkdir B && cp -r A/train B/
    pipeline run all --artifacts B [--config FILE] --set prune.ratio=0
    python benchmarks/speed.py --artifacts A --unpruned B [--threads 1] [--batch-sizes 1 32]

Prints a Markdown table for one number of threads. Both folders hold the same trained network; B
has it unpruned in every engine. Each contender has a process of its own, so that none shares
threads, memory or the permission to use AMX with another; the processes work in turns, one at a
time, in short windows. A time is the median of the windows' medians, in brackets its 95 % interval;
UNSTABLE is explained in docs/decisions/0004. TensorFlow is fed normalised images, engines pixels.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from stages.artifacts.signature import Signature
from stages.engines import records
from stages.measurement import choice, clock
from stages.numerics import latency

KERAS = ("model.predict", "tf.function")
UNPRUNED = ("onnxruntime.fp32", "openvino.fp32", "litert.fp32", "openvino.int8", "litert.int8")
GOAL = 0.5


@dataclass(eq=False)
class Contender:
    """A way to run a network, in a process that times one window on request."""

    name: str
    kind: str
    folder: Path
    accuracy: float
    p50_ms: dict[int, list[float]] = field(default_factory=dict)

    def start(self, threads: int) -> subprocess.Popen[str]:
        """Open it in a child of this script."""
        words = ["--serve", self.kind, "--artifacts", self.folder, "--threads", threads]
        self.child = subprocess.Popen(
            [sys.executable, __file__, *map(str, words)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        return self.child

    def window(self, batch_size: int, seconds: float) -> float:
        """Median milliseconds of calls with `batch_size` images over the given seconds."""
        print(batch_size, seconds, file=self.child.stdin, flush=True)
        line = self.child.stdout.readline() if self.child.stdout else ""
        if not line:
            sys.exit(f"{self.name} ended with status {self.child.wait()}")
        return float(line)

    def cell(self, batch_size: int) -> str:
        """ "0.0097 [0.0096, 0.0098]"."""
        windows = self.p50_ms[batch_size]
        low, high = latency.median_interval(windows)
        mark = "" if latency.is_stable(windows) else " UNSTABLE"
        return f"{self.median(batch_size):.4f} [{low:.4f}, {high:.4f}]{mark}"

    def median(self, batch_size: int) -> float:
        """Over all windows."""
        return float(np.median(self.p50_ms[batch_size]))


def measured(folder: Path, stage: str) -> dict[str, Any]:
    """What a stage's record says was measured."""
    found: dict[str, Any] = json.loads((folder / stage / "record.json").read_text())
    return dict(found["measurements"])


def contenders(pruned: Path, unpruned: Path, batch_sizes: list[int]) -> list[Contender]:
    """The engines that build chose for the pruned network first, then the others."""
    chosen = choice.read(pruned / "build")
    names = dict.fromkeys(chosen[size].engine for size in batch_sizes)
    found = [engine(f"pruned, chosen: {name}", name, pruned) for name in names]
    top1 = measured(pruned, "train")["accuracy"]["top1"]
    found += [Contender(f"trained, {name}", name, pruned, top1) for name in KERAS]
    return found + [engine(f"trained, {name}", name, unpruned) for name in UNPRUNED]


def engine(name: str, kind: str, folder: Path) -> Contender:
    """An engine with its accuracy in the benchmark on all test images."""
    rows = measured(folder, "benchmark")["engines"]
    row = next(each for each in rows if f"{each['backend']}.{each['precision']}" == kind)
    return Contender(name, kind, folder, row["accuracy"]["top1"])


def take_turns(found: list[Contender], batch_size: int, windows: int, seconds: float) -> None:
    """Warm every contender up, then time all of them in windows that take turns."""
    for each in found:
        each.window(batch_size, 5 * seconds)
        each.p50_ms[batch_size] = []
    for turn in range(windows):
        for each in found if turn % 2 else reversed(found):
            each.p50_ms[batch_size].append(each.window(batch_size, seconds))


def serve(kind: str, folder: Path, threads: int) -> None:
    """Answer each line, a batch size and seconds, with a median in milliseconds."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # Keras and native code print where they like.
    signature = Signature.read(folder / "build")
    images = np.load(folder / "build" / "samples.npz")["images"]
    with ExitStack() as opened:
        if kind in KERAS:
            forward = keras_call(kind, folder, threads)
            pixels = signature.preprocess
        else:
            entry = next(e for e in records.read(folder / "build") if str(e.name) == kind)
            runner = records.runner(entry, folder / "build", signature, threads)
            forward, pixels = opened.enter_context(runner).infer, signature.feed
        for line in sys.stdin:
            size, seconds = int(line.split()[0]), float(line.split()[1])
            batch = pixels(images[np.arange(size) % len(images)])
            taken = clock.measure({kind: partial(forward, batch)}, 1e-9, seconds)[kind]
            print(float(np.median(taken)), file=answers, flush=True)


def keras_call(kind: str, folder: Path, threads: int) -> Any:
    """The trained model in TensorFlow, from NumPy to NumPy."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf

    from stages.models import files

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    model = files.load(folder / "train" / "model.keras")
    if kind == "model.predict":
        return partial(model.predict, verbose=0)
    compiled = tf.function(partial(model, training=False), reduce_retracing=False)
    return lambda batch: compiled(tf.constant(batch)).numpy()


def report(found: list[Contender], threads: int, batch_sizes: list[int], goal: int) -> None:
    """The table, and how the chosen engine compares with the best of the others."""
    heads = [f"batch {size}, p50 ms" for size in batch_sizes]
    print(f"| {threads} thread{'s' * (threads > 1)} | accuracy | {' | '.join(heads)} |")
    print("| --- " + "| ---: " * (1 + len(heads)) + "|")
    for each in found:
        cells = " | ".join(each.cell(size) for size in batch_sizes)
        print(f"| {each.name} | {each.accuracy:.2%} | {cells} |")
    print()
    for size in batch_sizes:
        ours = min(found[:goal], key=lambda each: each.median(size))
        best = min(found[goal:], key=lambda each: each.median(size))
        share = ours.median(size) / best.median(size)
        print(f"- batch {size}: {ours.name} takes {share:.2f} of {best.name} (goal {GOAL})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"))
    parser.add_argument("--unpruned", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--windows", type=int, default=20)
    parser.add_argument("--window-seconds", type=float, default=0.2)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.artifacts, options.threads)
        return
    if not options.unpruned:
        parser.error("--unpruned is needed: see the top of this file")
    found = contenders(options.artifacts, options.unpruned, options.batch_sizes)
    with ExitStack() as started:
        for each in found:
            started.callback(each.start(options.threads).kill)
        for size in options.batch_sizes:
            take_turns(found, size, options.windows, options.window_seconds)
    chosen = sum(each.name.startswith("pruned") for each in found)
    report(found, options.threads, options.batch_sizes, chosen)


if __name__ == "__main__":
    main()
