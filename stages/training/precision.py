"""Mixed precision during training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras

from stages.engines import environment
from stages.keras_graph.walk import calls, functional
from stages.training import devices

AMX = "amx_bf16"
"""The processors where bfloat16 was measured to be faster: docs/measurements/training.md."""
SCALES = (
    keras.layers.BatchNormalization,
    keras.layers.GroupNormalization,
    keras.layers.LayerNormalization,
    keras.layers.RMSNormalization,
    keras.layers.PReLU,
)
"""Layers with weights that only scale or bend what a kernel before them made."""


def chosen(wanted: str, xla: bool) -> str:
    """`wanted`, and for "auto" bfloat16 on a CPU that multiplies it in AMX, else float32.

    A rule and no trial: the same seed on the same machine must give the same weights. XLA's kernels
    for CPUs do not use AMX.
    """
    if wanted != "auto":
        return wanted
    is_on_cpu = all("cpu" in name for name in devices.describe())
    has_amx = AMX in environment.describe().cpu.flags
    return "bfloat16" if is_on_cpu and has_amx and not xla else "float32"


@contextlib.contextmanager
def computing_in(precision: str, model: keras.Model) -> Iterator[None]:
    """Let all layers of `model` but its heads compute in "bfloat16" or "float16" inside the block.

    Weights stay float32, and so do layers afterwards: what is saved knows nothing of it. The last
    layer with weights before each output makes the logits, whose small differences the loss needs;
    what is behind it, normalisation and PReLU too, is a head with it.
    """
    layers = [each for each in model._flatten_layers(include_self=False, recursive=True)]
    before = [layer.dtype_policy for layer in layers]
    if precision != "float32":
        heads = set(_heads(model))
        for layer in layers:
            if id(layer) not in heads:
                layer.dtype_policy = keras.DTypePolicy(f"mixed_{precision}")
    try:
        yield
    finally:
        for layer, policy in zip(layers, before, strict=True):
            layer.dtype_policy = policy


def _heads(model: keras.Model) -> Iterator[int]:
    """ids of the layers that make the outputs, and of those within them: back to the first with
    weights, and no further than to where branches meet."""
    made_by = {id(tensor): call for call in calls(model) for tensor in call.outputs}
    for tensor in functional(model).outputs:
        call = made_by.get(id(tensor))
        while call is not None:
            layer = call.operation
            if isinstance(layer, keras.Model):
                yield from _heads(layer)
            elif isinstance(layer, keras.layers.Layer):
                yield from map(id, layer._flatten_layers())
            sources = {id(each) for each in call.inputs}
            # Behind a sum of branches all their layers would be heads.
            is_end = len(sources) != 1 or _makes_numbers(layer)
            call = None if is_end else made_by.get(sources.pop())


def _makes_numbers(operation: Any) -> bool:
    """Whether it has weights, and does more than to scale or bend what the layer before it made."""
    layers = operation._flatten_layers() if isinstance(operation, keras.layers.Layer) else ()
    return any(each.weights and not isinstance(each, (keras.Model, *SCALES)) for each in layers)


def scaled(optimizer: keras.Optimizer, variables: list[Any]) -> keras.Optimizer:
    """`optimizer` with loss scaling for float16, whose gradients underflow otherwise; a step that
    overflows is skipped.
    """
    wrapped = keras.optimizers.LossScaleOptimizer(optimizer)
    wrapped.build(variables)
    return wrapped
