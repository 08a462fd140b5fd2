"""Models as `.tflite`: in float32, and in full INT8 from the same ranges as the ONNX graphs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from stages.errors import ConversionError
from stages.keras_graph.fake_quant import execute
from stages.keras_graph.placement import Point, only
from stages.keras_graph.tracing import traceable
from stages.ranges import Range
from stages.signature import Signature


def int8_flatbuffer(
    model: keras.Model,
    points: Mapping[str, Point],
    ranges: Mapping[str, Range],
    signature: Signature,
) -> bytes:
    """Convert the folded `model`; the converter quantizes kernels itself, per channel.

    Fake-quantization nodes carry the ranges, so no representative data is needed.
    The input is as `signature` says, the output float32. Raises ConversionError.
    """

    def quantize(point: Point, value: Any) -> Any:
        low, high = ranges[point.name].limits("litert")
        return tf.quantization.fake_quant_with_min_max_args(value, low, high)

    wanted = only(points, "litert")
    return _flatbuffer(
        model,
        lambda image: execute(model, wanted, image, quantize, traceable),
        signature,
        [tf.lite.Optimize.DEFAULT],
    )


def float_flatbuffer(model: keras.Model, signature: Signature) -> bytes:
    """Convert the folded `model` in float32; input and errors as above."""
    return _flatbuffer(
        model,
        lambda image: execute(model, {}, image, lambda _, value: value, traceable),
        signature,
        [],
    )


def _flatbuffer(
    model: keras.Model,
    forward: Callable[[Any], Any],
    signature: Signature,
    optimizations: list[Any],
) -> bytes:
    """Variables are frozen first: the converter leaves those of a Keras 3 function unreadable."""
    shape = (signature.batch_size or None, *signature.input_shape)
    spec = tf.TensorSpec(shape, signature.dtype, name=signature.input_name)
    function = tf.function(
        lambda image: forward(normalised(image, signature)),
        input_signature=[spec],
    )
    frozen = convert_variables_to_constants_v2(function.get_concrete_function())
    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen], trackable_obj=model)
    converter.optimizations = optimizations
    try:
        with warnings.catch_warnings():
            # It expects representative data; the fake-quantization nodes say all it needs.
            warnings.filterwarnings("ignore", message="Statistics for quantized inputs")
            return bytes(converter.convert())
    except Exception as error:  # its error class is private
        reason = str(error).strip().splitlines()[0]
        raise ConversionError(f"LiteRT cannot convert this model: {reason}") from error


def normalised(image: Any, signature: Signature) -> Any:
    """`image`, a tensor of pixels or of what was preprocessed, as the model sees it: float32."""
    if signature.dtype == "float32":
        return image
    pixels = tf.cast(image, tf.float32) * signature.scale
    return pixels + signature.offset if signature.offset else pixels
