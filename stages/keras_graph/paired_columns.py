"""A narrow convolution, computed for two columns of the image at once.

The float32 kernels of x86 compute 16 output channels even where 8 are wanted. Two columns of 8
fill them: the image (N, H, W, C) is read as (N, H, W / 2, 2 C), which moves no byte, the kernel
(kh, kw, C, F) stands twice, one column apart, in one of (kh, (kw + 1) / 2, 2 C, 2 F), and the
result (N, H', W' / 2, 2 F) is read as (N, H', W', F). Each output is the same sum and some zeros.

    (N, 28, 28, 1) * (3, 3, 1, 8) -> (N, 26, 26, 8)         9 steps of 16 lanes for each column
    (N, 28, 14, 2) * (3, 2, 2, 16) -> (N, 26, 13, 16)      12 for two columns

Padding the image first would cost more than that saves, so it is for "valid" convolutions only.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from numpy.typing import NDArray

from stages.keras_graph.cost import kernel_of
from stages.keras_graph.tracing import traceable
from stages.keras_graph.walk import Call, calls

MOST_FILTERS = 8


def has_pairs(model: keras.Model) -> bool:
    """Whether a convolution of the folded `model` can be computed by pairs of columns."""
    return any(map(_is_narrow, calls(model)))


def traceable_by_pairs(call: Call, *args: Any, **kwargs: Any) -> Any:
    """`tracing.traceable`, with narrow convolutions computed by pairs of columns."""
    if _is_narrow(call):
        return _convolution(call.operation, args[0], call.outputs[0].shape)
    return traceable(call, *args, **kwargs)


def _is_narrow(call: Call) -> bool:
    layer = call.operation
    return (
        type(layer) is layers.Conv2D
        and layer.filters <= MOST_FILTERS
        and layer.groups == 1
        and layer.data_format == "channels_last"
        and layer.strides == layer.dilation_rate == (1, 1)
        and layer.padding == "valid"
        # With an odd kernel, an even width stays even: the result is pairs of columns as well.
        and layer.kernel_size[1] % 2 == 1
        and layer.kernel_size[1] > 1
        and call.inputs[0].shape[2] % 2 == 0
    )


def _convolution(layer: Any, image: Any, shape: tuple[int | None, ...]) -> Any:
    with tf.init_scope():  # constants, not operations of the graph
        kernel = paired(kernel_of(layer).numpy())
        bias = np.tile(layer.bias.numpy(), 2) if layer.use_bias else None
    _, height, width, channels = image.shape
    image = tf.reshape(image, (-1, height, width // 2, 2 * channels))
    result = tf.nn.conv2d(image, kernel, 1, "VALID")
    if bias is not None:
        result = tf.nn.bias_add(result, bias)
    return layer.activation(tf.reshape(result, (-1, *shape[1:])))


def paired(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """A kernel (kh, kw, C, F), kw odd, for two columns: (kh, (kw + 1) / 2, 2 C, 2 F)."""
    height, width, channels, filters = kernel.shape
    both = np.zeros((height, width + 1, channels, 2, filters), np.float32)
    for column in (0, 1):
        both[:, column : column + width, :, column] = kernel
    return both.reshape(height, (width + 1) // 2, 2 * channels, 2 * filters)
