"""Layers that are called with training=False compute in training what they compute at inference.

Keras 3 passes on what the whole model is told instead. Copies of a model leave out its own dropout
and freeze its batch normalisation (keras_graph/fold.py, plain.py); any other layer is told here,
and with it all that is inside: attention and recurrent layers with dropout, wrappers, layers of the
user's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras

from stages.keras_graph.walk import told_to_infer


@contextlib.contextmanager
def inferring(model: keras.Model) -> Iterator[None]:
    """Let the layers of `model` that are called with training=False everywhere infer inside the
    block."""
    before = [(each, each.__class__) for each in told_to_infer(model).values()]
    for layer, kind in before:
        layer.__class__ = _inferring(kind)
    try:
        yield
    finally:
        for layer, kind in before:
            layer.__class__ = kind


def _inferring(kind: Any) -> type:
    """A subclass that is told to infer, whatever it is told."""

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        # What one layer is told, Keras tells those behind it as well that take no `training`, and
        # by them what is inside them.
        context = self._get_call_context()
        before = context.get_value("training")
        try:
            return kind.__call__(self, *args, **{**kwargs, "training": False})
        finally:
            context.set_value("training", before)

    return type(kind.__name__, (kind,), {"__call__": call})
