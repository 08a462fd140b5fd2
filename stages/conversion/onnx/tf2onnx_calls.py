"""Calls of tf2onnx: its errors are raised instead of logged, its memory is bounded."""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import onnx
import tf2onnx
from tf2onnx.graph import Node

from stages.errors import ConversionError


def convert(function: Any, specs: Sequence[Any], opset: int) -> onnx.ModelProto:
    """The tf.function `function` of inputs like `specs` as an ONNX model, whose inputs have their
    names.

    Raises ConversionError with what tf2onnx raised or only logged as an error.
    """
    # Set to anything, it makes an error of an optimiser an error of the conversion, and saves
    # the copy of all weights that tf2onnx makes before each of dozens of passes.
    os.environ.setdefault("TF2ONNX_CATCH_ERRORS", "FALSE")
    with _errors_raised(), _weights_written_once():
        model: onnx.ModelProto
        model, _ = tf2onnx.convert.from_function(function, input_signature=specs, opset=opset)
    return model


class _Errors(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@contextmanager
def _errors_raised() -> Iterator[None]:
    # tf2onnx logs an operation that it cannot convert and returns a
    # graph all the same (decision 9).
    logger, errors = logging.getLogger("tf2onnx"), _Errors()
    logger.addHandler(errors)
    try:
        yield
    except Exception as error:
        errors.messages.append(f"{type(error).__name__}: {error}")
    finally:
        logger.removeHandler(errors)
    if errors.messages:
        raise ConversionError(
            f"tf2onnx cannot convert this model: {errors.messages[0]}",
            "replace the layer that uses this operation",
        )


@contextmanager
def _weights_written_once() -> Iterator[None]:
    """Keep constants as they are written while neither value nor name changes.

    After each of dozens of passes tf2onnx writes every constant into its node again, and
    protobuf frees none of the copies: 36 times the weights of ConvNeXtTiny at the end.
    """
    original: Callable[..., None] = Node.update_proto
    written: weakref.WeakKeyDictionary[Any, tuple[Any, list[str]]] = weakref.WeakKeyDictionary()

    def update_proto(node: Any, *args: Any, **kwargs: Any) -> None:
        value = node.attr.get("value") if node.is_const() else None
        known, names = written.get(node, (None, []))
        if value is not None and value is known and names == node.output:
            return
        original(node, *args, **kwargs)
        written[node] = (value, list(node.output))

    Node.update_proto = update_proto
    try:
        yield
    finally:
        Node.update_proto = original
