"""Models as `.tflite`: in float32, and in full INT8 from the same ranges as the ONNX graphs.

Each is written in up to two forms that compute the same; the build keeps the faster.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Set
from dataclasses import replace
from functools import partial
from itertools import product
from keyword import kwlist
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from numpy.typing import NDArray
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from stages.artifacts.ranges import Range
from stages.artifacts.signature import Signature
from stages.engines.base import Logits
from stages.engines.litert import Runner, input_names, paired_form, with_input_names
from stages.errors import ConversionUnsupported, shown
from stages.keras_graph.cost import kernel_of
from stages.keras_graph.fake_quant import QuantizeTensor, execute
from stages.keras_graph.kernels import channel_axes
from stages.keras_graph.paired_columns import has_pairs, traceable_by_pairs
from stages.keras_graph.placement import Point, inputs_of_weighted, only, softmaxes_without_grid
from stages.keras_graph.tracing import in_scopes, traceable, transposed_as_convolution
from stages.keras_graph.walk import Call, Visit, alone, calls
from stages.measurement.accuracy import logits
from stages.numerics import qparams

BATCH = 256


def write_int8(
    file: Path,
    folded: keras.Model,
    points: Mapping[str, Point],
    ranges: Mapping[str, Range],
    signature: Signature,
) -> list[Path]:
    """Write a folded model as the INT8 `file`, and by pairs of columns where it has some.

    Fake-quantization nodes carry the ranges, so no representative data is needed; the
    converter quantizes kernels itself, per channel. The input is as `signature` says, the output
    float32. Returns the files. Raises ConversionUnsupported.
    """

    def quantize(point: Point, value: Any) -> Any:
        low, high = ranges[point.name].limits("litert")
        return tf.quantization.fake_quant_with_min_max_args(value, low, high)

    wanted, optimizations = only(points, "litert"), [tf.lite.Optimize.DEFAULT]
    return _write(file, folded, wanted, quantize, signature, optimizations)


def _with_softmax_in_float(visit: Visit, without_grid: Set[int]) -> Visit:
    """`visit`, with the softmaxes whose results are in `without_grid` written as exponentials.

    The converter rounds what its softmax gives to steps of 1/256, whether or not there is a range:
    of 200 positions that are attended to alike, each has one such step.
    """

    def spelled(call: Call, *args: Any, **kwargs: Any) -> Any:
        if id(call.outputs[0]) not in without_grid:
            return visit(call, *args, **kwargs)
        axis = getattr(call.operation, "axis", -1)
        powers = tf.exp(args[0] - tf.reduce_max(args[0], axis, keepdims=True))
        # A division it would recognise as a softmax.
        return powers * tf.math.reciprocal(tf.reduce_sum(powers, axis, keepdims=True))

    return spelled


def _in_known_operations(visit: Visit) -> Visit:
    """`visit`, with what LiteRT does not know, or not in integers, in operations that it does."""

    def spelled(call: Call, *args: Any, **kwargs: Any) -> Any:
        layer, shape = call.operation, call.outputs[0].shape[1:]
        if getattr(layer, "data_format", "") != "channels_last":
            return visit(call, *args, **kwargs)
        if type(layer) is layers.MaxPooling3D:
            return tf.reshape(_pooled_by_planes(layer, args[0]), (-1, *shape))
        if type(layer) is layers.AveragePooling3D and _has_separate_windows(layer):
            return _means_of_windows(layer, args[0], shape)
        is_plain = getattr(layer, "output_padding", None) is None
        if type(layer) is layers.Conv1DTranspose and is_plain and layer.dilation_rate == (1,):
            return transposed_as_convolution(layer, args[0], shape[0])
        return visit(call, *args, **kwargs)

    return spelled


def _pooled_by_planes(layer: Any, volumes: Any) -> Any:
    """The largest values of volumes (N, D, H, W, C) within planes, then across them, for LiteRT
    pools images alone: (N, D', H' * W', C). Averages would be rounded twice."""
    (depth, *plane), (step, *steps) = layer.pool_size, layer.strides
    padding, (_, planes, *sides) = layer.padding.upper(), volumes.shape
    flat = tf.nn.max_pool2d(tf.reshape(volumes, (-1, *sides)), plane, steps, padding)
    height, width, channels = flat.shape[1:]
    column = tf.reshape(flat, (-1, planes, height * width, channels))
    return tf.nn.max_pool2d(column, (depth, 1), (step, 1), padding)


def _has_separate_windows(layer: Any) -> bool:
    """Whether no value is in two windows, and none is padded."""
    return bool(layer.padding == "valid" and tuple(layer.strides) == tuple(layer.pool_size))


def _means_of_windows(layer: Any, volumes: Any, shape: tuple[int, ...]) -> Any:
    """The average of each window of volumes (N, D, H, W, C), rounded once: (N, *shape).

    The planes of a window are put below each other, as an image (N D' H', pD pH, W, C) to pool.
    """
    (depth, height, width), (planes, rows, columns, channels) = layer.pool_size, shape
    across = columns * width
    whole = volumes[:, : planes * depth, : rows * height, :across]
    slabs = tf.reshape(whole, (-1, depth, rows, height * across * channels))
    images = tf.reshape(tf.transpose(slabs, (0, 2, 1, 3)), (-1, depth * height, across, channels))
    window = (depth * height, width)
    return tf.reshape(tf.nn.avg_pool2d(images, window, window, "VALID"), (-1, *shape))


def _rounded_kernels(model: keras.Model, points: Mapping[str, Point]) -> list[tuple[Any, Any]]:
    """The kernel variables that LiteRT leaves in float behind a quantized tensor, and their values
    on the INT8 grid, as those of all other engines: it has no integer kernel for volumes, none
    for signals with dilation, and none that returns float, as the numbers of a regression are."""
    quantized, found = inputs_of_weighted(model, points), []
    known = {id(point.tensor) for point in points.values()}
    float_outputs = {id(tensor) for tensor in model.outputs} - known
    reading = [call for call in calls(model) if id(call.outputs[0]) in quantized]
    for call in {id(each.operation): each for each in reading}.values():
        layer = call.operation
        is_dilated = isinstance(layer, layers.Conv1D) and layer.dilation_rate != (1,)
        is_volume = isinstance(layer, (layers.Conv3D, layers.Conv3DTranspose))
        if is_dilated or is_volume or id(call.outputs[0]) in float_outputs:
            kernel = kernel_of(layer)
            values, axes = kernel.numpy(), channel_axes(layer)
            shape = [size if axis in axes else 1 for axis, size in enumerate(values.shape)]
            scales = qparams.kernel_scales(values, *axes).reshape(shape)
            steps = qparams.quantize(values, scales, qparams.KERNEL)
            found.append((kernel, (steps * scales).astype(np.float32)))
    return found


def write_float(file: Path, folded: keras.Model, signature: Signature) -> list[Path]:
    """Write a folded model as the float32 `file`; forms, input, errors and result as above."""
    return _write(file, folded, {}, lambda _, value: value, signature, [])


def _write(
    file: Path,
    folded: keras.Model,
    points: Mapping[str, Point],
    quantize: QuantizeTensor,
    signature: Signature,
    optimizations: list[Any],
) -> list[Path]:
    visits: dict[Path, Visit] = {file: traceable}
    if has_pairs(folded):
        visits[paired_form(file)] = traceable_by_pairs
    without_grid = softmaxes_without_grid(folded, points) if optimizations else frozenset()
    rounded = _rounded_kernels(folded, points)
    for form, visit in visits.items():
        traced = in_scopes(_with_softmax_in_float(_in_known_operations(visit), without_grid))
        forward = partial(_forward, folded, points, quantize, traced, rounded)
        form.write_bytes(_flatbuffer(forward, signature, optimizations))
    return list(visits)


def _forward(
    folded: keras.Model,
    points: Mapping[str, Point],
    quantize: QuantizeTensor,
    visit: Visit,
    rounded: list[tuple[Any, Any]],
    images: Any,
) -> Any:
    with keras.StatelessScope(state_mapping=rounded):
        return execute(folded, points, images, quantize, visit)


def _flatbuffer(
    forward: Callable[[Any], Any],
    signature: Signature,
    optimizations: list[Any],
) -> bytes:
    """Inputs and outputs have the names of `signature`, in the file's own.

    Of a word of Python, as "class", and of names that TensorFlow makes equal, as "x" and "X" or
    "a-b" and "a_b", the converter makes no names, and drops those of all inputs: it is then given
    others of the same lengths, which these are written over.
    """
    content = _converted(forward, signature, optimizations)
    if not signature.inputs or input_names(content) == {*signature.input_names}:
        return content
    others = _stand_ins(signature)
    content = _converted(forward, others, optimizations)
    if input_names(content) != {*others.input_names}:
        raise ConversionUnsupported(
            f"LiteRT cannot call the inputs {', '.join(map(shown, signature.input_names))}",
            "choose longer names",
        )
    pairs = zip(others.input_names, signature.input_names, strict=True)
    return with_input_names(content, dict(pairs))


def _stand_ins(signature: Signature) -> Signature:
    """With a word of letters in place of each input's name, as long as that, as far as there are
    enough of them."""
    found: list[str] = []
    for name in signature.input_names:
        words = map("".join, product(ascii_lowercase, repeat=len(name)))
        taken = {*found, *signature.output_names, *kwlist}
        found.append(next((word for word in words if word not in taken), name))
    pairs = zip(signature.inputs, found, strict=True)
    return replace(signature, inputs=tuple(replace(each, name=word) for each, word in pairs))


def _converted(
    forward: Callable[[Any], Any],
    signature: Signature,
    optimizations: list[Any],
) -> bytes:
    """As `_flatbuffer`, but for the names of inputs that are lost.

    Variables are frozen first: the converter leaves those of a Keras 3 function unreadable.
    """
    sources = signature.each_input
    specs = [
        tf.TensorSpec((own.batch_size or None, *own.input_shape), own.dtype, name=own.input_name)
        for own in sources
    ]
    function = tf.function(
        lambda *images: forward(alone(list(map(normalised, images, sources)))),
        input_signature=specs,
        autograph=False,
    )
    frozen = convert_variables_to_constants_v2(function.get_concrete_function())
    # Around it, because freezing forgets the names of outputs; TensorFlow sorts by them.
    named = tf.function(
        lambda *images: dict(zip(signature.output_names, frozen(*images), strict=True)),
        input_signature=specs,
        autograph=False,
    ).get_concrete_function()
    # It saves the object as a whole on its way, and the frozen function needs nothing of the model.
    converter = tf.lite.TFLiteConverter.from_concrete_functions([named], trackable_obj=tf.Module())
    converter.optimizations = optimizations
    try:
        with warnings.catch_warnings():
            # It expects representative data; the fake-quantization nodes say all it needs.
            warnings.filterwarnings("ignore", message="Statistics for quantized inputs")
            return bytes(converter.convert())
    except Exception as error:  # its error class is private
        # Before "error: " stands where in the source the operation was made.
        reason = str(error).strip().splitlines()[0].rpartition("error: ")[2]
        raise ConversionUnsupported(
            f"LiteRT cannot convert this model: {reason}",
            "replace the layer that uses this operation",
        ) from error


def run_tflite(file: Path, signature: Signature, images: NDArray[Any]) -> Logits:
    """Logits (N, ...) of a `.tflite` for raw images (N, ..., C). Raises EngineError."""
    with Runner(file, signature) as engine:
        return logits(engine, images, BATCH)


def normalised(image: Any, signature: Signature) -> Any:
    """`image`, a tensor of pixels or of what was preprocessed, as the model sees it: float32."""
    if signature.dtype == "float32":
        return image
    pixels = tf.cast(image, tf.float32) * signature.scale
    return pixels + signature.offset if signature.offset else pixels
