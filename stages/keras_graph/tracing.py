"""How a layer is traced for a converter, where Keras' own way of computing it cannot be converted.

The models themselves stay as they are: this only decides what a tf.function records.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from stages.artifacts.node_names import scope
from stages.keras_graph.activations import activation_name
from stages.keras_graph.cost import kernel_of
from stages.keras_graph.kinds import is_kind
from stages.keras_graph.walk import Call, Visit, apply

MATRIX_RANK = 2


def traceable(call: Call, *args: Any, **kwargs: Any) -> Any:
    """The visit for tracing: computes what the operation of `call` does, convertibly."""
    operation = call.operation
    if is_kind(operation, (layers.Flatten, layers.Reshape)):
        # With a constant shape, where Keras would compute it.
        return tf.reshape(args[0], (-1, *call.outputs[0].shape[1:]))
    if _is_exact_gelu(operation):
        return _gelu(args[0])
    if type(operation) is layers.LayerNormalization and _is_over_channels(operation, args[0]):
        return _layer_normalization(operation, args[0])
    if type(operation) is layers.Dense and len(call.outputs[0].shape) > MATRIX_RANK:
        return _dense_of_rows(operation, args[0], call.outputs[0].shape)
    if type(operation) is layers.Conv1D:
        return _convolution_along_rows(operation, args[0])
    if type(operation) is layers.DepthwiseConv1D:
        return _depthwise_along_rows(operation, args[0])
    if type(operation) is layers.Conv1DTranspose:
        return _transposed_along_rows(operation, args[0], call.outputs[0].shape)
    if type(operation) is layers.Conv2D and operation.groups > 1:
        return _grouped_convolution(operation, args[0])
    limit = _limit_of_relu(operation)  # no walrus: AutoGraph warns of it
    if limit is not None:
        # In this order: LiteRT's converter fuses the kernel before it with a ReLU that comes first,
        # and leaves it in float before a minimum with a ReLU behind it.
        return tf.minimum(tf.nn.relu(args[0]), limit)
    with _unrolled(operation):
        return apply(call, *args, **kwargs)


def _limit_of_relu(operation: Any) -> float | None:
    """The largest value of a ReLU, or of a clip from zero on, that has one other than 6."""
    name = activation_name(operation)
    if name == "clip" and np.ndim(operation.x_max) == 0 and np.array_equal(operation.x_min, 0):
        return float(operation.x_max)
    return float(operation.max_value) if name == "clipped_relu" else None


def in_scopes(visit: Visit) -> Visit:
    """`visit`, with the name of the layer in the names of the nodes (artifacts/node_names.py)."""

    def scoped(call: Call, *args: Any, **kwargs: Any) -> Any:
        with tf.name_scope(scope(call.operation.name)):
            return visit(call, *args, **kwargs)

    return scoped


@contextmanager
def _unrolled(operation: Any) -> Iterator[None]:
    """Recurrent layers, also those inside `operation`, one step after the other: no converter
    knows the loop in which Keras computes them."""
    inside = operation._flatten_layers() if isinstance(operation, layers.Layer) else []
    recurrent = [(each, each.unroll) for each in inside if isinstance(each, layers.RNN)]
    for layer, _ in recurrent:
        layer.unroll = True
    try:
        yield
    finally:
        for layer, unroll in recurrent:
            layer.unroll = unroll


def _is_exact_gelu(operation: Any) -> bool:
    if is_kind(operation, layers.Activation):
        return operation.activation is keras.activations.gelu
    return type(operation).__name__ == "Gelu" and not operation.approximate


def _gelu(values: Any) -> Any:
    """x / 2 * (1 + erf(x / sqrt 2)); tf.nn.gelu uses erfc, which ONNX does not have."""
    return 0.5 * values * (1.0 + tf.math.erf(values * math.sqrt(0.5)))


def _is_over_channels(layer: Any, values: Any) -> bool:
    return layer.axis in (-1, [-1], len(values.shape) - 1) and not layer.rms_scaling


def _layer_normalization(layer: Any, values: Any) -> Any:
    """(x - mean) / sqrt(var + eps) * gamma + beta, in this order.

    Keras computes x * a - mean * a, whose difference float16 cannot hold for a large mean.
    """
    centred = values - tf.reduce_mean(values, -1, keepdims=True)
    variance = tf.reduce_mean(tf.square(centred), -1, keepdims=True)
    result = centred * tf.math.rsqrt(variance + layer.epsilon)
    if layer.scale:
        result = result * tf.convert_to_tensor(layer.gamma)
    return result + tf.convert_to_tensor(layer.beta) if layer.center else result


def _dense_of_rows(layer: Any, values: Any, shape: tuple[int | None, ...]) -> Any:
    """A Dense layer over the last of several axes as one over rows: (N, T, C) -> (N * T, C).

    Keras computes the shapes for this at run time, where converters lose track of integers.
    """
    rows = tf.reshape(values, (-1, values.shape[-1])) @ tf.convert_to_tensor(kernel_of(layer))
    if layer.use_bias:
        rows = tf.nn.bias_add(rows, tf.convert_to_tensor(layer.bias))
    return layer.activation(tf.reshape(rows, (-1, *shape[1:])))


def _convolution_along_rows(layer: Any, values: Any) -> Any:
    """A Conv1D as a convolution of an image of one row: (N, L, C) -> (N, 1, L, C) -> (N, L', F).

    Where tf2onnx finds a one-dimensional one, it leaves the bias to an addition of its own.
    """
    padding, (length, channels) = layer.padding, values.shape[1:]
    image = tf.reshape(values, (-1, 1, length, channels))
    if padding == "causal":
        before = (layer.kernel_size[0] - 1) * layer.dilation_rate[0]
        image, padding = tf.pad(image, [[0, 0], [0, 0], [before, 0], [0, 0]]), "valid"
    result = tf.nn.convolution(
        image,
        tf.expand_dims(tf.convert_to_tensor(kernel_of(layer)), 0),
        (1, *layer.strides),
        padding.upper(),
        dilations=(1, *layer.dilation_rate),
    )
    return _as_signal(layer, result)


def _depthwise_along_rows(layer: Any, values: Any) -> Any:
    """The same of a DepthwiseConv1D, whose rows stride as its columns: there is one."""
    image = tf.reshape(values, (-1, 1, *values.shape[1:]))
    result = tf.nn.depthwise_conv2d(
        image,
        tf.expand_dims(tf.convert_to_tensor(kernel_of(layer)), 0),
        (1, layer.strides[0], layer.strides[0], 1),
        layer.padding.upper(),
        dilations=(1, layer.dilation_rate[0]),
    )
    return _as_signal(layer, result)


def _transposed_along_rows(layer: Any, values: Any, shape: tuple[int | None, ...]) -> Any:
    """The same of a Conv1DTranspose, whose output has `shape` (N, L', F)."""
    image = tf.reshape(values, (-1, 1, *values.shape[1:]))
    result = tf.nn.conv2d_transpose(
        image,
        tf.expand_dims(tf.convert_to_tensor(kernel_of(layer)), 0),
        (tf.shape(image)[0], 1, *shape[1:]),
        (1, *layer.strides),
        layer.padding.upper(),
    )
    return _as_signal(layer, result)


def transposed_as_convolution(layer: Any, values: Any, length: int) -> Any:
    """A Conv1DTranspose as a convolution of its input with zeros in between: (N, `length`, F).

    Its kernel, mirrored, is one of integers in LiteRT, where that of a transposed convolution along
    one row is not. Dumoulin and Visin, 'A guide to convolution arithmetic', section 4.
    """
    (size,), (stride,), (_, places, channels) = layer.kernel_size, layer.strides, values.shape
    apart = tf.pad(
        tf.reshape(values, (-1, places, 1, channels)), [[0, 0]] * 2 + [[0, stride - 1], [0, 0]]
    )
    dropped = max(size - stride, 0) // 2 if layer.padding == "same" else 0
    before = size - 1 - dropped
    behind = length + size - 1 - places * stride - before
    row = tf.reshape(apart, (-1, 1, places * stride, channels))
    mirrored = tf.transpose(tf.convert_to_tensor(kernel_of(layer))[::-1], (0, 2, 1))
    image = tf.pad(row, [[0, 0], [0, 0], [before, behind], [0, 0]])
    return _as_signal(layer, tf.nn.convolution(image, mirrored[None], (1, 1), "VALID"))


def _as_signal(layer: Any, image: Any) -> Any:
    """An image of one row (N, 1, L, F), with the bias and activation of `layer`: (N, L, F)."""
    if layer.use_bias:
        image = tf.nn.bias_add(image, tf.convert_to_tensor(layer.bias))
    return layer.activation(tf.reshape(image, (-1, *image.shape[2:])))


def _grouped_convolution(layer: Any, values: Any) -> Any:
    """Without the tf.function(jit_compile=True) around it in which Keras runs it on CPUs."""
    # tf2onnx cannot see into the compiled function: it logs an error and writes
    # an invalid graph (decision 9).
    result = tf.nn.convolution(
        values,
        tf.convert_to_tensor(kernel_of(layer)),
        layer.strides,
        layer.padding.upper(),
        dilations=layer.dilation_rate,
    )
    if layer.use_bias:
        result = tf.nn.bias_add(result, tf.convert_to_tensor(layer.bias))
    return layer.activation(result)
