"""Augmentation of training images: flip, rotation, shear, zoom and contrast.

Random numbers come from outside, as a function of seed and epoch alone, which Keras' random layers
with their own state do not offer. Rotation, shear and zoom are one interpolation.
"""

from __future__ import annotations

import math

import keras
import tensorflow as tf

from stages.settings import Data

UNCHANGED = Data(shift_pixels=0)
"""Trains on unchanged images."""
DRAWS = 5
"""Random numbers for one image: turn, shear, zoom, contrast, mirror."""


def is_wanted(data: Data) -> bool:
    """Whether `augmented` would change anything."""
    return data.flip or any((data.rotate_degrees, data.shear_degrees, data.zoom, data.contrast))


def augmented(images: tf.Tensor, draws: tf.Tensor, data: Data) -> tf.Tensor:
    """Images (N, H, W, C) of pixels, augmented as `data` allows: float32 pixels from 0 to 255.

    `draws` float32 (N, DRAWS), from 0 to 1, set the strengths: 0.5 changes nothing; the last one
    flips the image if it is below 0.5.
    """
    # All are drawn, wanted or not: switching one augmentation on changes nothing about the others.
    strengths = tf.unstack(2 * draws - 1, axis=1)
    images = tf.cast(images, tf.float32)
    if data.flip:
        images = _mirrored(images, strengths[4])
    if data.rotate_degrees or data.shear_degrees or data.zoom:
        images = warped(images, _matrices(strengths[0], strengths[1], strengths[2], data))
    if data.contrast:
        images = contrasted(images, 1 + data.contrast * strengths[3])
    return images


def augmented_masks(masks: tf.Tensor, draws: tf.Tensor, data: Data) -> tf.Tensor:
    """Masks (N, H, W, 1) of class numbers, moved as `augmented` moves their images."""
    strengths = tf.unstack(2 * draws - 1, axis=1)
    if data.flip:
        masks = _mirrored(masks, strengths[4])
    if data.rotate_degrees or data.shear_degrees or data.zoom:
        matrices = _matrices(strengths[0], strengths[1], strengths[2], data)
        # Between two classes there is no third.
        turned = warped(tf.cast(masks, tf.float32), matrices, "nearest")
        masks = tf.cast(tf.round(turned), masks.dtype)
    return masks


def _mirrored(images: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    return tf.where((strength < 0)[:, None, None, None], tf.reverse(images, [2]), images)


def _matrices(turn: tf.Tensor, shear: tf.Tensor, zoom: tf.Tensor, data: Data) -> tf.Tensor:
    """For `warped`: shear, then turn, then scale, from a point of the result to one before."""
    turn = turn * math.radians(data.rotate_degrees)
    slope = tf.tan(shear * math.radians(data.shear_degrees))
    scale = 1 / (1 + data.zoom * zoom)
    cos, sin = tf.cos(turn), tf.sin(turn)
    rows = [cos, cos * slope - sin, sin, sin * slope + cos]
    return scale[:, None] * tf.stack(rows, axis=1)


def warped(images: tf.Tensor, matrices: tf.Tensor, interpolation: str = "bilinear") -> tf.Tensor:
    """Images (N, H, W, C) seen through matrices (N, 4), row by row, about their centres.

    The pixel at (x, y) from the centre is what was at (a x + b y, c x + d y), interpolated
    between four pixels, or that of the nearest, with the image mirrored at its edges.
    """
    height, width = images.shape[1:3]
    x, y = (width - 1) / 2, (height - 1) / 2
    a, b, c, d = tf.unstack(matrices, axis=1)
    zeros = tf.zeros_like(a)
    rows = [a, b, x - a * x - b * y, c, d, y - c * x - d * y, zeros, zeros]
    return keras.ops.image.affine_transform(
        images,
        tf.stack(rows, axis=1),
        interpolation=interpolation,
        fill_mode="reflect",
        data_format="channels_last",
    )


def contrasted(images: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
    """Images (N, H, W, C) with `factors` (N,) times the distance from their mean colours."""
    means = tf.reduce_mean(images, axis=[1, 2], keepdims=True)
    changed = means + factors[:, None, None, None] * (images - means)
    return tf.clip_by_value(changed, 0.0, 255.0)
