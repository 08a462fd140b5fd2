"""How fast a fine-tune is, before and after: batch normalisation in one operation, bfloat16, and a
teacher that is folded, or asked once.

    python benchmarks/training.py [--models resnet8 ds_cnn] [--batch 64] [--steps 20] [--rounds 9]
    python benchmarks/training.py --profile resnet8      # where the time of a step goes

Every variant is the training loop of the fine-tunes, on random images that are shifted as by
default, with distillation from a network of the same size. Variants take turns in one process, so
that whatever else the machine does meets all of them; the ratio is the median of those of rounds.
CPU time is that of all threads. The teacher's answers are kept where images are not augmented: a
second table is of images that are not shifted. Then as many trainings as there are cores run side
by side, each with one thread, against one training that has all cores, in turns as well.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

from stages import models
from stages.artifacts.signature import Signature
from stages.datasets.base import DataSet, Split
from stages.keras_graph.fold import fold
from stages.settings import Data, Model, Training
from stages.training import answers, optimizers
from stages.training.feed import batches
from stages.training.fit import Teacher
from stages.training.fused_norm import fused_norms
from stages.training.loop import Loop, Objective
from stages.training.losses import Question
from stages.training.precision import computing_in

SHAPES = {"resnet8": (32, 32, 3), "resnet20": (32, 32, 3), "vgg": (32, 32, 3)}
GREY = (28, 28, 1)
CLASSES, IMAGES = 10, 2048
VARIANTS = {
    "before": (False, "float32"),
    "fused": (True, "float32"),
    "bfloat16, not fused": (False, "bfloat16"),
    "fused, bfloat16": (True, "bfloat16"),
    "fused, teacher folded": (True, "float32", None, True),
    "fused, bfloat16, teacher folded": (True, "bfloat16", None, True),
}
STILL = {
    "asked in every step": (True, "float32", False),
    "answers kept": (True, "float32", True),
    "asked in every step, bfloat16": (True, "bfloat16", False),
    "answers kept, bfloat16": (True, "bfloat16", True),
}
"""Variants on images that are not shifted."""


def random_images(shape: tuple[int, int, int]) -> DataSet:
    """Noise of ten classes."""
    random = np.random.default_rng(0)
    split = Split(random.integers(0, 256, (IMAGES, *shape), np.uint8), np.arange(IMAGES) % CLASSES)
    names = tuple(map(str, range(CLASSES)))
    return DataSet(
        "noise", train=split, validation=split, calibration=split, test=split, class_names=names
    )


def training_of(
    name: str,
    batch: int,
    is_fused: bool,
    precision: str,
    is_known: bool | None = None,
    is_folded: bool = False,
) -> Callable[[int], None]:
    """A function that trains the network `name` for so many steps.

    On images that are not shifted where it is said whether the teacher's answers are kept. A folded
    teacher has no batch normalisation, and computes in the precision of its student.
    """

    keras.utils.set_random_seed(0)
    shape = SHAPES.get(name, GREY)
    dataset = random_images(shape)
    signature = Signature(shape, dataset.class_names, 1 / 255, 0.0)
    training = Training(batch_size=batch)
    model, teacher = (models.create(Model(name=name), shape, CLASSES) for _ in range(2))
    teacher = fold(teacher) if is_folded else teacher
    data = Data() if is_known is None else Data(shift_pixels=0)
    training = training.model_copy(update={"epochs": 2})
    known = answers.known(teacher, dataset, signature, training, data) if is_known else None
    questions = (Question("classification", CLASSES, from_logits=True),)
    teach = Teacher(teacher, 0.5).losses
    objective = Objective(questions, None, l1=0.0, l2=0.0, teach=teach)
    rate = optimizers.schedule(training, IMAGES)
    optimizer = optimizers.make(training, rate, model.trainable_variables)
    loop = Loop(model, optimizer, objective, training, teacher=teacher)
    feed = batches(dataset, signature, training, data, range(10**6), answers=known)
    iterator = iter(feed)

    def run(steps: int) -> None:
        fuse = fused_norms(model) if is_fused else contextlib.nullcontext()
        asked_in = precision if is_folded else "float32"
        with computing_in(precision, model), computing_in(asked_in, teacher), fuse:
            loop.run(iterator, steps * batch)

    run(2)  # traces
    return run


def compare(name: str, variants: Mapping[str, Any], options: argparse.Namespace) -> None:
    """A table of the variants; the first is the one before."""
    runs = {key: training_of(name, options.batch, *each) for key, each in variants.items()}
    first = next(iter(runs))
    seconds: dict[str, list[float]] = {key: [] for key in runs}
    cpu: dict[str, list[float]] = {key: [] for key in runs}
    for turn in range(options.rounds):
        for key in runs if turn % 2 else reversed(runs):
            start, busy = time.perf_counter(), time.process_time()
            runs[key](options.steps)
            seconds[key].append(time.perf_counter() - start)
            cpu[key].append(time.process_time() - busy)
    print(f"\n### {name}, batches of {options.batch}, medians of {options.rounds} rounds\n")
    print("| variant | images/s | times before | CPU ms a step | times before |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for key in runs:
        images = options.batch * options.steps / np.median(seconds[key])
        faster, less = (np.median(np.array(taken[first]) / taken[key]) for taken in (seconds, cpu))
        ms = 1000 * np.median(cpu[key]) / options.steps
        print(f"| {key} | {images:,.0f} | {faster:.2f} | {ms:.1f} | {less:.2f} |", flush=True)


def side_by_side(name: str, options: argparse.Namespace) -> None:
    """One training on all cores against one on each."""
    cores = len(os.sched_getaffinity(0))
    rates: dict[int, list[float]] = {1: [], cores: []}
    for _ in range(max(2, options.rounds // 3)):
        for count in rates:
            rates[count].append(sum(_children(name, options, count, cores // count)))
    ratio = np.median(np.array(rates[cores]) / rates[1])
    print(
        f"\n{name}, {VARIANTS['fused, bfloat16'][1]}: one training with {cores} threads "
        f"{np.median(rates[1]):,.0f} images/s, {cores} with one thread each "
        f"{np.median(rates[cores]):,.0f} together ({ratio:.2f} times)",
        flush=True,
    )


def _children(name: str, options: argparse.Namespace, count: int, threads: int) -> list[float]:
    command = [sys.executable, __file__, "--child", "--models", name]
    command += ["--batch", str(options.batch), "--steps", str(options.steps)]
    limits = {f"TF_NUM_{kind}OP_THREADS": str(threads) for kind in ("INTRA", "INTER")} | {
        "OMP_NUM_THREADS": str(threads)
    }
    started = [
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **limits},
        )
        for _ in range(count)
    ]
    for each in started:
        each.stdout.readline()  # it has traced
    for each in started:
        each.stdin.write("go\n")
        each.stdin.flush()
    return [float(each.communicate()[0].split()[-1]) for each in started]


def child(options: argparse.Namespace) -> None:
    """Trains when it is told to, and prints its images per second."""
    run = training_of(options.models[0], options.batch, *VARIANTS["fused, bfloat16"])
    print("ready", flush=True)
    sys.stdin.readline()
    start = time.perf_counter()
    run(3 * options.steps)
    print(3 * options.steps * options.batch / (time.perf_counter() - start))


def profile(name: str, options: argparse.Namespace) -> None:
    """The operations of a step by the time that they take, before and after."""
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    for key in ("before", "fused, bfloat16"):
        run = training_of(name, options.batch, *VARIANTS[key])
        with tempfile.TemporaryDirectory() as folder:
            tf.profiler.experimental.start(folder)
            run(options.steps)
            tf.profiler.experimental.stop()
            (file,) = Path(folder).rglob("*.xplane.pb")
            space: Any = xplane_pb2.XSpace.FromString(file.read_bytes())
        taken: Counter[str] = Counter()
        for plane in space.planes:
            for line in plane.lines:
                for event in line.events:
                    place, _, kind = plane.event_metadata[event.metadata_id].name.partition(":")
                    # Functions hold the operations, and iterators their own parts.
                    if kind and kind[0] != ":" and not kind.startswith("__inference"):
                        taken[_part(place, kind.partition("#")[0])] += event.duration_ps
        whole = sum(taken.values())
        print(f"\n### {name}, {key}\n\n| part of a step | ms | share |\n| --- | ---: | ---: |")
        for part, picoseconds in taken.most_common(10):
            ms = picoseconds / 1e9 / options.steps
            print(f"| {part} | {ms:.2f} | {picoseconds / whole:.0%} |", flush=True)


def _part(place: str, kind: str) -> str:
    """What an operation is for, by its name in the graph and its type."""
    back = "backward" if "gradient_tape" in place else "forward"
    if "Conv2D" in kind or "Conv2d" in kind or "MatMul" in kind:
        return f"convolution, {back}"
    if "_bn" in place or "moments" in place or "BatchNorm" in kind:
        return f"batch normalisation, {back}"
    if kind.startswith(("Assign", "Resource", "Read")):
        return "variables"
    if "Cast" in kind:
        return "casts"
    return f"other, {back}" if "while/body" in place else "feed and the rest"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["resnet8", "ds_cnn", "mnist_cnn"])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--profile", metavar="MODEL")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options)
    elif options.profile:
        profile(options.profile, options)
    else:
        for name in options.models:
            compare(name, VARIANTS, options)
            compare(name, STILL, options)
            side_by_side(name, options)


if __name__ == "__main__":
    main()
