"""Masks of unstructured and 2:4 sparsity, and the compressed size of weights. Pure numpy."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Kernel = NDArray[np.float32]
Mask = NDArray[np.bool_]
"""True where a weight stays."""


def two_of_four(kernel: Kernel) -> Mask:
    """Of every four neighbours along the input channels the two with the largest magnitudes.

    The kernel is (..., cin, cout); positions and output channels are independent, as sparse tensor
    cores require. A remainder of one or two channels stays; of three, two stay. Of equal
    magnitudes the lower channel stays: [1, -4, 3, 2] -> [0, 1, 1, 0].
    """
    cin = kernel.shape[-2]
    rows = np.moveaxis(np.abs(kernel), -2, -1)
    missing = -cin % 4
    # Below every magnitude, so that padding is never among the largest.
    padded = np.pad(rows, [(0, 0)] * (rows.ndim - 1) + [(0, missing)], constant_values=-1)
    fours = padded.reshape(*rows.shape[:-1], -1, 4)
    order = np.argsort(-fours, axis=-1, kind="stable")
    mask = np.zeros(fours.shape, bool)
    np.put_along_axis(mask, order[..., :2], True, axis=-1)
    return np.moveaxis(mask.reshape(padded.shape)[..., :cin], -1, -2)


def is_two_of_four(kernel: Kernel) -> bool:
    """Whether every four neighbours along the input channels have at least two zeros."""
    rows = np.moveaxis(kernel, -2, -1) != 0
    padded = np.pad(rows, [(0, 0)] * (rows.ndim - 1) + [(0, -rows.shape[-1] % 4)])
    return bool((padded.reshape(*rows.shape[:-1], -1, 4).sum(axis=-1) <= 2).all())


def magnitude_masks(
    kernels: Sequence[Kernel], sparsity: float, block: tuple[int, int], together: bool
) -> list[Mask]:
    """Zero the share `sparsity` of the blocks of (input, output) channels with the smallest mean.

    Of every kernel (..., cin, cout), or of all `together`. Blocks at the edge may be smaller.
    """
    means = [_block_means(kernel, block) for kernel in kernels]
    everything = np.concatenate([mean.ravel() for mean in means]) if together else None
    masks = []
    for kernel, mean in zip(kernels, means, strict=True):
        stays = mean > _threshold(mean.ravel() if everything is None else everything, sparsity)
        repeated = stays.repeat(block[0], axis=-2).repeat(block[1], axis=-1)
        masks.append(repeated[..., : kernel.shape[-2], : kernel.shape[-1]])
    return masks


def polynomial(final: float, done: float) -> float:
    """Sparsity when the share `done` of a schedule is over: fast at first, then slower.

    final * (1 - (1 - done)^3): Zhu and Gupta, "To prune, or not to prune", 2017, equation 1.
    """
    return final * (1.0 - (1.0 - done) ** 3)


def compressed_bytes(weights: Iterable[NDArray[Any]]) -> int:
    """Size of the weights after zlib at its highest level, as gzip has it."""
    packer = zlib.compressobj(9)
    size = sum(len(packer.compress(np.ascontiguousarray(each).tobytes())) for each in weights)
    return size + len(packer.flush())


def _block_means(kernel: Kernel, block: tuple[int, int]) -> NDArray[np.float64]:
    """Mean magnitude of every block: (..., ceil(cin / rows), ceil(cout / columns))."""
    ends = [(0, -side % step) for side, step in zip(kernel.shape[-2:], block, strict=True)]
    pads = [(0, 0)] * (kernel.ndim - 2) + ends
    rows, columns = block

    def sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
        padded = np.pad(values, pads)
        *rest, cin, cout = padded.shape
        blocks = padded.reshape(*rest, cin // rows, rows, cout // columns, columns)
        total: NDArray[np.float64] = blocks.sum(axis=(-3, -1))
        return total

    magnitudes = np.abs(kernel.astype(np.float64))
    return sums(magnitudes) / sums(np.ones_like(magnitudes))


def _threshold(magnitudes: NDArray[np.float64], sparsity: float) -> float:
    """The largest magnitude that goes; below all of them where nothing goes."""
    gone = int(sparsity * len(magnitudes) + 1e-9)
    return float(np.partition(magnitudes, gone - 1)[gone - 1]) if gone else -1.0
