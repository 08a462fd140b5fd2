"""Removing channels of nothing but zeros changes no output: checked on keras.applications.

    python benchmarks/prune_exactness.py [NAME ...]

For every architecture, or those that are named, half of the channels of every group are set to zero
wherever they are computed, then removed. Prints a Markdown table with the largest difference of
the outputs, relative to the largest output. Computed in float64: with random weights some deep
networks turn one rounding of float32 into more than the allowed 1e-5, whatever is removed.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
from keras import layers

from stages.keras_graph.channels import Trace
from stages.keras_graph.fold import flatten
from stages.keras_graph.kernels import DEPTHWISE, WEIGHTED
from stages.keras_graph.producers import channel_kernels, layer_of
from stages.keras_graph.shrink import shrink
from stages.keras_graph.walk import calls

LIMIT = 1e-5
IMAGES = 4
SIDES = {"InceptionV3": 75, "InceptionResNetV2": 75, "Xception": 71}
"""Images as small as the architecture takes; others get 32 x 32 pixels."""


def applications() -> list[str]:
    """The names of all architectures in keras.applications."""
    return sorted(
        name
        for name, value in vars(keras.applications).items()
        if name[0].isupper() and callable(value)
    )


def create(name: str) -> keras.Model:
    """An architecture with random weights."""
    side = SIDES.get(name, 32)
    build = getattr(keras.applications, name)
    model: keras.Model = build(
        input_shape=(side, side, 3), weights=None, classes=10, classifier_activation=None
    )
    return model


def relative_difference(model: keras.Model, images: Any) -> float:
    """Largest difference of the outputs without half of the channels, which were zeros before.

    `images` (N, H, W, C); relative to the largest output. `model` stays as it is.
    """
    return check(flatten(model), images)["relative_difference"]


def check(flat: keras.Model, images: Any) -> dict[str, Any]:
    """Zero and remove half of every group of channels of a flat model, whose weights change.

    Returns `groups`, `parameters_before`, `parameters_after`, `relative_difference`, and
    `signal`: how far outputs differ between images, also relative to the largest; a network
    whose outputs are all the same would prove nothing.
    """
    kept = [np.arange(0, len(group.channels), 2) for group in Trace(flat).groups()]
    zero(flat, kept)
    small = shrink(flat, kept)
    full, removed = (flattened(each(images, training=False)) for each in (flat, small))
    return {
        "groups": len(kept),
        "parameters_before": int(flat.count_params()),
        "parameters_after": int(small.count_params()),
        "relative_difference": float(np.abs(full - removed).max() / np.abs(full).max()),
        "signal": float(full.std(axis=0).max() / np.abs(full).max()),
    }


def flattened(outputs: Any) -> Any:
    """One or more outputs (N, ...) as (N, values)."""
    each = [np.asarray(output) for output in keras.tree.flatten(outputs)]
    return np.concatenate([output.reshape(len(output), -1) for output in each], axis=1)


def randomize(flat: keras.Model, pixels: Any) -> None:
    """Random scales and shifts, which start as 1 and 0 and would hide mistakes.

    Moving averages become those of the images, else the signal dies in a deep network. Without
    batch normalisation (VGG) biases stay 0: they would drown it.
    """
    rng = np.random.default_rng(0)
    if not any(isinstance(layer, layers.BatchNormalization) for layer in flat.layers):
        return
    for variable in flat.weights:
        if variable.path.endswith("/gamma"):
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        elif variable.path.endswith(("/bias", "/beta")):
            variable.assign(rng.normal(0, 0.3, variable.shape))
    momenta = {each: each.momentum for each in flat.layers if hasattr(each, "momentum")}
    for layer in momenta:
        layer.momentum = 0.0
    flat(pixels, training=True)
    for layer, momentum in momenta.items():
        layer.momentum = momentum


def zero(flat: keras.Model, kept: list[Any]) -> None:
    """Zero the channels that are not kept, wherever they are computed, in place."""
    trace = Trace(flat)
    gone = np.zeros(len(trace.roots), bool)
    for group, keep in zip(trace.groups(), kept, strict=True):
        for channel in np.setdiff1d(np.arange(len(group.channels)), keep):
            name, position = group.channels[channel][0]
            gone[trace.roots[trace.produced[name][position]]] = True
    for call in calls(flat):
        if getattr(call.operation, "weights", None):
            for variable, channels in computed(call.operation, trace.of[id(call.outputs[0])]):
                variable.assign(variable.numpy() * ~gone[trace.roots[channels]])
    for name, made in trace.produced.items():
        if name != layer_of(name):  # of the heads of attention: (..., channels of each)
            part = name.removeprefix(f"{layer_of(name)}/")
            for variable in getattr(flat.get_layer(layer_of(name)), f"{part}_dense").weights:
                variable.assign(variable.numpy() * ~gone[trace.roots[made]])


def computed(layer: Any, made: Any) -> Iterator[tuple[Any, Any]]:
    """The variables of a layer that have a place per output channel, and its unit there."""
    if isinstance(layer, layers.BatchNormalization):
        yield from ((each, made) for each in layer.weights if "variance" not in each.path)
    elif isinstance(layer, layers.MultiHeadAttention):
        yield from ((each, made) for each in layer.output_dense.weights)
    elif isinstance(layer, WEIGHTED):
        ((kernel, axis),) = channel_kernels(layer).values()
        shape = [1] * len(kernel.shape)
        if isinstance(layer, DEPTHWISE):
            yield kernel, made.reshape(kernel.shape[-2:])
        else:
            shape[axis] = -1
            yield kernel, made.reshape(shape)
        if layer.use_bias:
            yield layer.bias, made


def main() -> None:
    names = sys.argv[1:] or applications()
    keras.config.set_floatx("float64")
    print("| architecture | groups | parameters | relative difference | signal |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name in names:
        flat = flatten(create(name))
        pixels = np.random.default_rng(1).uniform(0, 255, (IMAGES, *flat.input_shape[1:]))
        randomize(flat, pixels)
        found = check(flat, pixels)
        before, after = (found[f"parameters_{when}"] / 1e6 for when in ("before", "after"))
        difference = found["relative_difference"]
        verdict = "" if difference <= LIMIT else " **too much**"
        print(
            f"| {name} | {found['groups']} | {before:.2f} -> {after:.2f} M | {difference:.1e}"
            f"{verdict} | {found['signal']:.2f} |",
            flush=True,
        )
        keras.backend.clear_session()
        gc.collect()


if __name__ == "__main__":
    main()
