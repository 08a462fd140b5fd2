"""Mixed precision during training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras

from stages.engines import environment
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
    """Let all layers of `model` but the last compute in "bfloat16" or "float16" inside the block.

    Weights stay float32, and so do layers afterwards: what is saved knows nothing of it. The
    last layer makes the logits, whose small differences the loss needs.
    """
    layers = [each for each in model._flatten_layers(include_self=False, recursive=True)]
    before = [layer.dtype_policy for layer in layers]
    if precision != "float32":
        for layer in layers[:-1]:
            layer.dtype_policy = keras.DTypePolicy(f"mixed_{precision}")
    try:
        yield
    finally:
        for layer, policy in zip(layers, before, strict=True):
            layer.dtype_policy = policy


def scaled(optimizer: keras.Optimizer, variables: list[Any]) -> keras.Optimizer:
    """`optimizer` with loss scaling for float16, whose gradients underflow otherwise; a step that
    overflows is skipped.
    """
    wrapped = keras.optimizers.LossScaleOptimizer(optimizer)
    wrapped.build(variables)
    return wrapped
