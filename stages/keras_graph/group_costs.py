"""What the kernels of a network cost, as a function of how wide its groups of channels are."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from stages.keras_graph.channel_rules import PRODUCERS
from stages.keras_graph.channels import Group, Trace
from stages.keras_graph.cost import TRANSPOSED
from stages.keras_graph.kernels import DEPTHWISE
from stages.keras_graph.producers import channel_kernels
from stages.keras_graph.union_find import Indices
from stages.keras_graph.walk import Call, calls
from stages.numerics.allocation import KernelCosts


def kernel_costs(flat: keras.Model) -> tuple[list[Group], KernelCosts]:
    """The groups of a flat model, and the multiply-adds of its kernels by what is left of them.

    A channel of a group counts like every other one; sums that attention makes of positions do
    not count.
    """
    trace = Trace(flat)
    found = trace.groups()
    owner = {
        int(trace.roots[trace.produced[name][position]]): number
        for number, group in enumerate(found)
        for (name, position), *_ in group.channels
    }

    def parts(units: Indices) -> NDArray[np.float64]:
        """Shares of `units` in each group and, last, in none: float64 (G + 1,)."""
        owners = [owner.get(root, len(found)) for root in trace.roots[units].tolist()]
        return np.bincount(owners, minlength=len(found) + 1) / len(owners)

    always = np.eye(len(found) + 1)[-1]
    kernels = [kernel for call in calls(flat) for kernel in _kernels(trace, call)]
    return found, KernelCosts(
        np.array([size for size, _, _ in kernels]),
        np.array([always if seen is None else parts(seen) for _, seen, _ in kernels]),
        np.array([parts(made) for _, _, made in kernels]),
    )


def _kernels(trace: Trace, call: Call) -> Iterator[tuple[float, Indices | None, Indices]]:
    """Multiply-adds, input and output channels of the kernels of a call; no input channels where
    each output channel sees its own."""
    layer, positions = call.operation, _positions(call)
    if isinstance(layer, DEPTHWISE):
        yield positions * math.prod(layer.kernel.shape), None, trace.of[id(call.outputs[0])]
    elif type(layer) in PRODUCERS:
        for name, (kernel, _) in channel_kernels(layer).items():
            size, made = positions * math.prod(kernel.shape), trace.produced.get(name)
            if made is None:
                yield size, None, trace.of[id(call.outputs[0])]
            else:
                yield size, trace.of[id(call.inputs[0])], made


def _positions(call: Call) -> float:
    """How often a kernel is used for one image; a side that is open counts as 1."""
    is_transposed = isinstance(call.operation, TRANSPOSED)
    tensor: Any = (call.inputs if is_transposed else call.outputs)[0]
    positions: float = math.prod(side or 1 for side in tensor.shape[1:-1])
    return positions
