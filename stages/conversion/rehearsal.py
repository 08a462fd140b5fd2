"""A conversion with made-up ranges: what cannot be converted is known before any training."""

from __future__ import annotations

import tempfile
from pathlib import Path

import keras

from stages import progress
from stages.artifacts.ranges import Range
from stages.artifacts.signature import Signature
from stages.conversion.litert import write_float, write_int8
from stages.conversion.onnx.float16 import to_float16
from stages.conversion.onnx.targets import float_graph, int8_graph
from stages.errors import ConversionError, ConversionUnsupported, UserError
from stages.keras_graph.fold import fold
from stages.keras_graph.placement import points
from stages.models.files import in_one_line


def rehearse(model: keras.Model, signature: Signature) -> None:
    """Convert `model` to a graph of every kind, and throw them away.

    Raises ModelError or ConversionError where the conversion after the training would, and warns
    where it leaves out the engines of LiteRT.
    """
    try:
        _convert(model, signature)
    except UserError:
        raise
    except Exception as error:  # whatever Keras, TensorFlow and the converters raise
        raise ConversionError(
            f"{model.name!r} cannot be converted: {type(error).__name__}: {in_one_line(error)}",
            "replace the layer that it names; the traceback is in the stage's log",
        ) from error


def _convert(model: keras.Model, signature: Signature) -> None:
    folded = fold(model)
    placed = points(folded, signature)
    ranges = {
        name: Range(*(point.limits or (-1.0 if point.signed else 0.0, 1.0)))
        for name, point in placed.items()
    }
    to_float16(float_graph(folded, signature))
    int8_graph(folded, placed, ranges, signature, "cpu")
    with tempfile.TemporaryDirectory() as folder:
        try:
            write_float(Path(folder) / "model.tflite", folded, signature)
            write_int8(Path(folder) / "model.tflite", folded, placed, ranges, signature)
        except ConversionUnsupported as error:
            progress.warn(f"there will be no LiteRT engine: {error.message}")
