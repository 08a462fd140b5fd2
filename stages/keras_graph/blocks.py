"""Blocks of a network that can be removed whole, because their input can stand in for their output.

| block | from | to |
| --- | --- | --- |
| residual, y = x + f(x) | x | y |
| residual with a projection, y = p(x) + f(x) | p(x) | y |
| a layer that repeats a shape, with its normalisation and activation | its input | its output |

Nothing is read from names: a residual block is an addition of two tensors of equal shape, one of
which needs more kernels of its own than the other. Removing it is exact where f is zero (its last
gamma or kernel); removing a repeated layer is exact where that is the identity. Veit et al.,
"Residual Networks Behave Like Ensembles of Relatively Shallow Networks", 2016, section 4.1: without
one of its blocks a trained residual network still works.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

from stages.keras_graph.activations import FUSED, NOT_NEGATIVE, activation_name
from stages.keras_graph.channel_rules import PRODUCERS
from stages.keras_graph.fold import Copies
from stages.keras_graph.kernels import DEPTHWISE
from stages.keras_graph.walk import Call, calls, functional, rebuild

Names = tuple[str, ...]

REPEATABLE = (*PRODUCERS, *DEPTHWISE)
"""Layers that can be a block by themselves."""


# By identity: Keras tensors overload comparisons.
@dataclass(frozen=True, eq=False)
class Block:
    """Layers between `start` and `end`, for which it can stand in.

    `layers`, those with a kernel, identify the block; `others` go with them.
    """

    layers: Names
    others: Names
    start: Any
    end: Any


def find_blocks(flat: keras.Model) -> list[Block]:
    """The blocks of a flat model, residual ones first, each in graph order.

    Layers inside a residual block are no blocks of their own.
    """
    graph = _Graph(flat)
    found: dict[Names, Block] = {}
    residual: set[int] = set()
    for call in graph.calls:
        if _is_addition(call):
            sides = _sides(graph, call)
            residual |= {id(each) for _, gone in sides for each in gone}
            if block := _residual([block for block, _ in sides]):
                found.setdefault(block.layers, block)
    for call in graph.calls:
        if id(call) not in residual and (block := _repeated(graph, call)):
            found.setdefault(block.layers, block)
    return list(found.values())


def remove(flat: keras.Model, gone: Collection[Names]) -> keras.Model:
    """A new flat model without the blocks that have these layers, with weights of its own.

    Blocks that are no longer there are passed over, and what is left of one that lost others within
    it is still one. A ReLU that then follows a ReLU goes as well: it would change nothing and cost
    time. Raises ValueError for layers that are no block.
    """
    there = {layer.name for layer in flat.layers}
    left = [tuple(name for name in names if name in there) for names in gone]
    known = _known(flat)
    if unknown := [names for names in left if names and names not in known]:
        raise ValueError(f"no removable blocks of {flat.name!r}: {unknown}")
    starts = {id(known[names].end): known[names].start for names in left if names}
    copies, values, kinds = Copies(), dict[int, Any](), dict[int, str]()

    def visit(call: Call, *args: Any, **kwargs: Any) -> Any:
        flat_arguments = keras.tree.flatten((args, kwargs))
        given = [each for each in flat_arguments if isinstance(each, keras.KerasTensor)]
        values.update(zip(map(id, call.inputs), given, strict=True))
        if start := [starts[id(each)] for each in call.outputs if id(each) in starts]:
            return values[id(start[0])]
        kind = _activation(call.operation)
        if _is_idle(kind, kinds.get(id(given[0]), "")):
            return given[0]
        result = copies.call(call.operation, *args, **kwargs)
        if isinstance(result, keras.KerasTensor):
            kinds[id(result)] = kind or _fused(call.operation)
        return result

    return rebuild(flat, visit)


class _Graph:
    """Calls of a flat model, who makes which tensor and who reads it."""

    def __init__(self, flat: keras.Model) -> None:
        self.calls = calls(flat)
        self.outputs = {id(tensor) for tensor in functional(flat).outputs}
        self.uses = Counter(id(call.operation) for call in self.calls)
        self._place = {id(call): number for number, call in enumerate(self.calls)}
        self._maker = {id(tensor): call for call in self.calls for tensor in call.outputs}
        self._readers: dict[int, list[Call]] = {}
        for call in self.calls:
            for key in {id(tensor) for tensor in call.inputs}:
                self._readers.setdefault(key, []).append(call)

    def unused(self, end: Any, start: Any) -> list[Call] | None:
        """Calls that nothing needs once `start` stands in for `end`; None if an input is one.

        Backwards from `end`, no further than what goes: the rest of the graph costs no time.
        """
        gone: dict[int, Call] = {}

        def is_needed(tensor: Any) -> bool:
            if tensor is start or id(tensor) in self.outputs:
                return True
            return tensor is not end and any(id(each) not in gone for each in self.readers(tensor))

        stack = [self._maker[id(end)]]
        while stack:
            call = stack.pop()
            gone[id(call)] = call
            for tensor in call.inputs:
                if is_needed(tensor):
                    continue
                maker = self._maker.get(id(tensor))
                if maker is None:
                    return None
                if not any(map(is_needed, maker.outputs)):
                    stack.append(maker)
        return sorted(gone.values(), key=lambda call: self._place[id(call)])

    def readers(self, tensor: Any) -> list[Call]:
        """Calls that have `tensor` as an input."""
        return self._readers.get(id(tensor), [])


def _known(flat: keras.Model) -> dict[Names, Block]:
    """The blocks of `flat`, and both sides of each addition, by the names of their layers.

    Once it lost a block within it, the larger side may have as few kernels as the other.
    """
    graph = _Graph(flat)
    known = {block.layers: block for block in find_blocks(flat)}
    for call in filter(_is_addition, graph.calls):
        for block, _ in _sides(graph, call):
            known.setdefault(block.layers, block)
    return known


def _sides(graph: _Graph, call: Call) -> list[tuple[Block, list[Call]]]:
    """Both sides of the addition `call`, each as a block with its calls.

    A side is left out without which an input of the model would be unused.
    """
    end = call.outputs[0]
    sides = [(start, graph.unused(end, start)) for start in call.inputs]
    return [(_block(graph, start, end, gone), gone) for start, gone in sides if gone is not None]


def _residual(sides: Sequence[Block]) -> Block | None:
    """Of the `sides` of an addition the one with more kernels, for which the other stands in."""
    ordered = sorted(sides, key=lambda block: len(block.layers))
    # Equal sides: neither is a shortcut of the other.
    is_clear = len(ordered) > 1 and len(ordered[0].layers) < len(ordered[1].layers)
    return ordered[1] if is_clear else None


def _repeated(graph: _Graph, call: Call) -> Block | None:
    """The layer of `call` with what follows it alone, if all of it keeps the shape."""
    if type(call.operation) not in REPEATABLE or not _keeps_shape(call):
        return None
    # One branch of several is no repetition: a gate, x * f(x), would become x * x.
    if len(graph.readers(call.inputs[0])) > 1:
        return None
    end = call.outputs[0]
    for reader in _tail(graph, end):
        end = reader.outputs[0]
    if id(end) in graph.outputs:
        return None
    block = _block(graph, call.inputs[0], end, graph.unused(end, call.inputs[0]) or ())
    return block if block.layers else None


def _tail(graph: _Graph, tensor: Any) -> Iterator[Call]:
    """Normalisation, activations and dropout behind `tensor`, as long as nothing else reads it."""
    while len(readers := graph.readers(tensor)) == 1:
        (reader,) = readers
        weights = getattr(reader.operation, "weights", ())
        if not _keeps_shape(reader) or any(len(weight.shape) > 1 for weight in weights):
            return
        yield reader
        tensor = reader.outputs[0]


def _block(graph: _Graph, start: Any, end: Any, gone: Sequence[Call]) -> Block:
    """The block of all layers whose calls are all `gone`."""
    going = Counter(id(call.operation) for call in gone)
    operations = {id(call.operation): call.operation for call in gone}
    names: dict[bool, list[str]] = {True: [], False: []}
    for key, operation in operations.items():
        if going[key] == graph.uses[key]:
            weights = getattr(operation, "weights", ())
            names[any(len(weight.shape) > 1 for weight in weights)].append(operation.name)
    return Block(tuple(names[True]), tuple(names[False]), start, end)


def _is_addition(call: Call) -> bool:
    """Whether two tensors of equal and known shape are added."""
    operation = call.operation
    is_add = type(operation) is layers.Add or (
        type(operation).__module__.startswith("keras.src.ops.")
        and type(operation).__name__ == "Add"
    )
    return (
        is_add
        and len({id(tensor) for tensor in call.inputs}) == len(call.inputs) == 2
        and len({tuple(tensor.shape) for tensor in (*call.inputs, *call.outputs)}) == 1
        and None not in call.outputs[0].shape[1:]
    )


def _keeps_shape(call: Call) -> bool:
    source = {id(tensor) for tensor in call.inputs}
    return (
        len(source) == len(call.outputs) == 1
        and tuple(call.inputs[0].shape) == tuple(call.outputs[0].shape)
        and None not in call.outputs[0].shape[1:]
    )


def _activation(operation: Any) -> str:
    """Name of the activation that an operation is; "" for a subclass, which may compute more."""
    is_keras = type(operation).__module__.startswith("keras.src.")
    return activation_name(operation) if is_keras else ""


def _fused(operation: Any) -> str:
    """Name of the activation that ends a layer with a kernel; "" where it may not be what ends it.

    A GRU and a custom layer have an attribute of this name, too, and compute something else.
    """
    activation = getattr(operation, "activation", None) if type(operation) in REPEATABLE else None
    return str(getattr(activation, "__name__", ""))


def _is_idle(kind: str, before: str) -> bool:
    """Whether an activation `kind` changes nothing behind one of the kind `before`."""
    return kind in FUSED and (kind == before or (kind == "relu" and before in NOT_NEGATIVE))
