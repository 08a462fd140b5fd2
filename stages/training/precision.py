"""Mixed precision during training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras


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
