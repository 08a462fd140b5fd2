"""What each part of calibration without training is worth: ranges, methods, bias correction.

    python benchmarks/calibration.py mnist.npz [--seeds 3]

Trains two small networks on 12,000 images of MNIST, one with SiLU and one with depthwise
convolutions and ReLU6, calibrates them on 512 other images, and prints the rows of a Markdown
table. "labels changed" is the share of the 10,000 test images whose class is another than the
float network's, "error" the root mean square of what INT8 changes in the logits, as computed by
Keras' simulation of the CPU engines. The test images choose nothing here.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from stages.artifacts.ranges import Range
from stages.artifacts.signature import Signature
from stages.keras_graph.fake_quant import simulate
from stages.keras_graph.fold import fold
from stages.keras_graph.placement import Point, points
from stages.quantization.bias_correction import biases_of, mean_shifts, set_biases
from stages.quantization.calibrate import METHODS, Ranges, find_ranges, observe, tie
from stages.quantization.method_choice import choose, combine, output_changes
from stages.training import evaluate

SIGNATURE = Signature((28, 28, 1), tuple("0123456789"), 1 / 255, 0.0)
TRAINED, CALIBRATED, EPOCHS, BATCH = 12_000, 512, 3, 64
PERCENTILE = 99.99


def network(activation: str, is_depthwise: bool) -> keras.Model:
    """A stem and three blocks of 32 to 64 channels."""
    image = keras.Input(SIGNATURE.input_shape, name="image")

    def block(x: Any, layer: layers.Layer) -> Any:
        normal = layers.BatchNormalization(momentum=0.9)(layer(x))
        return layers.Activation(activation)(normal)

    def options(strides: int) -> dict[str, Any]:
        return {"strides": strides, "padding": "same", "use_bias": False}

    x = block(image, layers.Conv2D(16, 3, **options(2)))
    for channels, strides in ((32, 1), (32, 2), (64, 1)):
        if is_depthwise:
            x = block(x, layers.DepthwiseConv2D(3, **options(strides)))
            x = block(x, layers.Conv2D(channels, 1, **options(1)))
        else:
            x = block(x, layers.Conv2D(channels, 3, **options(strides)))
    return keras.Model(image, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


NETWORKS = {
    "SiLU": lambda: network("silu", is_depthwise=False),
    "depthwise, ReLU6": lambda: network("relu6", is_depthwise=True),
}


def symmetric(model: keras.Model, placed: dict[str, Point], found: Ranges) -> Ranges:
    """`found`, reaching as far below zero as above where a tensor has both signs."""
    widest = {name: max(-spec.low, spec.high) for name, spec in found.items()}
    mirrored = {
        name: Range(-widest[name], widest[name]) if placed[name].signed else spec
        for name, spec in found.items()
    }
    return tie(model, placed, mirrored)


def settings(
    model: keras.Model, placed: dict[str, Point], batches: list[NDArray[np.float32]]
) -> Iterator[tuple[str, Ranges, bool]]:
    """Description, ranges, and whether biases are corrected."""
    histograms = observe(model, placed, batches)
    candidates = {m: find_ranges(model, placed, histograms, m, PERCENTILE) for m in METHODS}
    yield "max, symmetric", symmetric(model, placed, candidates["max"]), False
    for method, found in candidates.items():
        yield method, found, False
    changes = output_changes(model, placed, candidates, batches)
    chosen = combine(candidates, choose(model, placed, changes))
    yield "per tensor", chosen, False
    yield "max, biases corrected", candidates["max"], True
    yield "mse, biases corrected", candidates["mse"], True
    yield "per tensor, biases corrected", chosen, True


def measure(name: str, seed: int, data: dict[str, NDArray[Any]]) -> Iterator[tuple[str, Any]]:
    """(description, (accuracy, share of labels changed, error)) for every setting."""
    keras.utils.set_random_seed(seed)
    images, labels = data["x_train"][..., None], data["y_train"]
    source = NETWORKS[name]()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    source.compile(keras.optimizers.Adam(2e-3), loss)
    train = SIGNATURE.preprocess(images[:TRAINED])
    source.fit(train, labels[:TRAINED], batch_size=BATCH, epochs=EPOCHS, verbose=0)
    model = fold(source)
    placed, folded = points(model, SIGNATURE), biases_of(model)
    seen = SIGNATURE.preprocess(images[TRAINED : TRAINED + CALIBRATED])
    batches = np.split(seen, CALIBRATED // BATCH)
    test = SIGNATURE.preprocess(data["x_test"][..., None])
    expected = evaluate.logits(model, test)
    yield "float32", described(expected, expected, data["y_test"])
    for setting, found, is_corrected in settings(model, placed, batches):
        shifts = mean_shifts(model, placed, found, batches) if is_corrected else {}
        set_biases(model, folded, shifts)
        got = evaluate.logits(simulate(model, placed, found), test)
        set_biases(model, folded)
        yield setting, described(got, expected, data["y_test"])


def described(got: Any, expected: Any, labels: Any) -> tuple[float, float, float]:
    """Accuracy, share of labels changed, and root mean square of the change."""
    classes = got.argmax(axis=1)
    changed = float(np.mean(classes != expected.argmax(axis=1)))
    return (
        float(np.mean(classes == labels)),
        changed,
        float(np.sqrt(np.mean((got - expected) ** 2))),
    )


def main() -> None:
    """Print the table's rows, each the mean over all seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mnist", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    with np.load(arguments.mnist) as file:
        data = dict(file)
    for name in NETWORKS:
        runs = [dict(measure(name, seed, data)) for seed in range(arguments.seeds)]
        for setting in runs[0]:
            top1, changed, error = np.mean([run[setting] for run in runs], axis=0)
            print(f"| {name} | {setting} | {top1:.2%} | {changed:.2%} | {error:.3f} |", flush=True)


if __name__ == "__main__":
    main()
