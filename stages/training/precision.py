"""Mixed precision during training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras

from stages.engines import environment
from stages.keras_graph.cost import kernel_of
from stages.keras_graph.walk import calls, functional
from stages.training import devices

AMX = "amx_bf16"
"""The processors where bfloat16 was measured to be faster: docs/measurements/training.md."""


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
    layer with weights before each output makes the logits, whose small differences the loss needs.
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
    """ids of the layers that make the outputs, back to a kernel through what has no weights, and of
    those within them."""
    made_by = {id(tensor): call for call in calls(model) for tensor in call.outputs}
    outputs = functional(model).outputs
    ends = {id(tensor) for tensor in outputs}
    stack = list(outputs)
    while stack:
        tensor = stack.pop()
        call = made_by.pop(id(tensor), None)
        if call is None:
            continue
        layer, has_weights = call.operation, bool(getattr(call.operation, "weights", None))
        if isinstance(layer, keras.Model):
            yield from _heads(layer)
        elif not has_weights or kernel_of(layer) is not None or id(tensor) in ends:
            yield from map(id, layer._flatten_layers() if isinstance(layer, keras.Layer) else ())
        if not has_weights:
            stack += call.inputs


def scaled(optimizer: keras.Optimizer, variables: list[Any]) -> keras.Optimizer:
    """`optimizer` with loss scaling for float16, whose gradients underflow otherwise; a step that
    overflows is skipped.
    """
    wrapped = keras.optimizers.LossScaleOptimizer(optimizer)
    wrapped.build(variables)
    return wrapped
