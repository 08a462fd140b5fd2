"""How much memory it takes to judge masks: 500 of 256 x 256 pixels and 8 classes.

    python benchmarks/mask_memory.py

A network of one convolution, so that its outputs are what fills the memory. Each step runs in a
process of its own; what is shown is the peak of that process above what it had before the step.
Images and masks, 131 MB, are there before. Prints a Markdown table.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import onnx

from stages.artifacts.signature import Signature
from stages.conversion.onnx.targets import float_graph
from stages.datasets.base import Split
from stages.engines import records
from stages.measurement import accuracy, choice
from stages.training import evaluate

IMAGES, SIDE, CLASSES, BATCH = 500, 256, 8, 32
STEPS = {
    "metrics of a Keras model on test images": "measure",
    "metric and loss on validation images": "score",
    "metrics of an engine on test images": "accuracy",
    "answers of an engine, to compare with": "answers",
}


def megabytes() -> tuple[float, float]:
    """What this process has now, and the most that it had."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    now = pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    return now, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def step(name: str) -> Any:
    """Run one, and print its peak and a number that shows that it ran."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (IMAGES, SIDE, SIDE, 3), np.uint8)
    split = Split(images, random.integers(0, CLASSES, (IMAGES, SIDE, SIDE), np.uint8))
    keras.utils.set_random_seed(0)
    image = keras.Input((SIDE, SIDE, 3), name="image")
    model = keras.Model(image, keras.layers.Conv2D(CLASSES, 1, name="logits")(image))
    signature = Signature(
        (SIDE, SIDE, 3),
        tuple(map(str, range(CLASSES))),
        1 / 255,
        0.0,
        task="segmentation",
        output_shape=(SIDE, SIDE, CLASSES),
    )
    with tempfile.TemporaryDirectory() as name_of:
        folder = Path(name_of)
        signature.write(folder)
        onnx.save(float_graph(model, signature), folder / records.BASELINE)
        model(signature.preprocess(images[:1]))  # what TensorFlow takes once is no part of it
        before, _ = megabytes()
        if name == "measure":
            found = evaluate.measure(model, split, signature).accuracy.score
        elif name == "score":
            found = evaluate.score(model, split, signature)
        else:
            record = records.EngineRecord(
                **records.BASELINE_ENGINE._asdict(), file=records.BASELINE
            )
            if name == "accuracy":
                with records.runner(record, folder, signature, 1) as engine:
                    found = accuracy.accuracy(engine, images, split.labels, BATCH).score
            else:
                found = choice.trained_answers(folder, images, split.labels, BATCH).score
        print(f"{megabytes()[1] - before:.0f} {found}")


def main() -> None:
    if len(sys.argv) > 1:
        return step(sys.argv[1])
    print("| step | MB | result |\n| --- | ---: | --- |")
    for words, name in STEPS.items():
        command = [sys.executable, __file__, name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        said = done.stdout.split(maxsplit=1) or ["", done.stderr[-300:]]
        print(f"| {words} | {said[0]} | {said[1].strip()} |", flush=True)


if __name__ == "__main__":
    main()
