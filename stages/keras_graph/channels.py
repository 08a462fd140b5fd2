"""Which channels of a network can only be removed together.

Every channel of every tensor (its last axis) gets a unit, a number. Layers that pass channels on
pass their units on; layers that mix all channels (convolution, Dense) end old units and start new
ones; where two units must live or die together (both sides of an Add) they are united. A unit
that may not be removed is united with FROZEN. Example, with W a convolution of 2 filters:

    x -> [0]    y = W(x) -> [1 2]    relu(y) -> [1 2]    flatten, 2 positions -> [1 2 1 2]

Idea: Fang et al., "DepGraph: Towards Any Structural Pruning", CVPR 2023, section 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from stages.keras_graph.channel_rules import RULES, attend, operation_rule
from stages.keras_graph.union_find import FROZEN, Indices, UnionFind
from stages.keras_graph.walk import Call, calls, functional, walk


@dataclass(frozen=True)
class Group:
    """Channels of which any can be removed, but not all.

    `layers` are the names of the layers that compute them; channels[i] lists every
    (layer name, output channel) that goes when channel i goes.
    """

    layers: tuple[str, ...]
    channels: tuple[tuple[tuple[str, int], ...], ...]


class Trace:
    """The units of all tensors of a flat model: `of[id(tensor)]` has one per channel.

    `produced` maps each layer that makes new channels to their units, `roots` each unit to the
    representative of its set. `whole` has the layers with a kernel of which a call has no rule.

    With `stand_ins`, id of a tensor -> an earlier one, all are those of the model in which these
    take its place, without making that.
    """

    def __init__(self, model: keras.Model, stand_ins: Mapping[int, Any] | None = None) -> None:
        self.units = UnionFind()
        self.of: dict[int, Indices] = {}
        self.produced: dict[str, Indices] = {}
        self.whole: dict[str, Any] = {}
        self._first_calls: dict[int, tuple[Indices, Indices]] = {}
        graph = functional(model)
        self._stand_ins = stand_ins or {}
        self._needed = _needed(model, self._stand_ins)
        for tensor in graph.inputs:
            self.of[id(tensor)] = _frozen(tensor)
        walk(model, graph.inputs, self._visit)
        for tensor in graph.outputs:
            self.units.unite(self.of[id(tensor)], FROZEN)
        self.roots = self.units.roots()

    def groups(self) -> list[Group]:
        """What can be removed, in graph order; channels computed by the same layers are a group."""
        together: dict[int, list[tuple[str, int]]] = {}
        for name, units in self.produced.items():
            for channel, root in enumerate(self.roots[units].tolist()):
                together.setdefault(root, []).append((name, channel))
        together.pop(FROZEN, None)
        grouped: dict[tuple[str, ...], list[tuple[tuple[str, int], ...]]] = {}
        for places in together.values():
            names = tuple(dict.fromkeys(name for name, _ in places))
            grouped.setdefault(names, []).append(tuple(places))
        return [Group(names, tuple(channels)) for names, channels in grouped.items()]

    def _visit(self, call: Call, *args: Any, **kwargs: Any) -> Any:
        if not self._needed.isdisjoint(map(id, call.outputs)):
            stand_in = self._stand_ins.get(id(call.outputs[0]))
            if stand_in is None:
                self._follow(call, args, kwargs)
            else:
                self.of[id(call.outputs[0])] = self.of[id(stand_in)]
        return call.outputs[0] if len(call.outputs) == 1 else list(call.outputs)

    def _follow(self, call: Call, args: Any, kwargs: Any) -> None:
        units = None
        if _is_plain(call, args, kwargs):
            rule = RULES.get(type(call.operation)) or operation_rule(call.operation)
            units = rule(self, call) if rule else None
        if units is None:
            if any(len(each.shape) > 1 for each in getattr(call.operation, "weights", ())):
                self.whole[call.operation.name] = call.operation
            for tensor in call.inputs:
                self.units.unite(self.of[id(tensor)], FROZEN)
            self.of.update({id(tensor): _frozen(tensor) for tensor in call.outputs})
            # Of all layers only attention may be plain in one call and not in another.
            if RULES.get(type(call.operation)) is attend:
                self._tie_shared(call, self.of[id(call.outputs[0])])
        else:
            self._tie_shared(call, units)
            self.of[id(call.outputs[0])] = units

    def _tie_shared(self, call: Call, units: Indices) -> None:
        """All calls of a layer with weights see the same channels and return the same."""
        if getattr(call.operation, "weights", None):
            seen = self.of[id(call.inputs[0])]
            first_seen, first_units = self._first_calls.setdefault(
                id(call.operation), (seen, units)
            )
            if seen is not first_seen:
                self.units.unite(seen, first_seen)
            if units is not first_units:
                self.units.unite(units, first_units)


def groups(model: keras.Model) -> list[Group]:
    """The channels of a flat model that can be removed, by what must go together.

    Channels of the model's inputs and outputs, and all that reach an operation without a rule
    (stages/keras_graph/channel_rules.py), are in no group.
    """
    return Trace(model).groups()


def left_whole(model: keras.Model) -> list[Any]:
    """The layers with a kernel, of a flat model, none of which can lose a channel: those without a
    rule, and attention with a mask, returned scores or LoRA."""
    return list(Trace(model).whole.values())


def _needed(model: keras.Model, stand_ins: Mapping[int, Any]) -> set[int]:
    """ids of the tensors that the outputs of `model` are made of, and of the outputs."""
    maker = {id(tensor): call for call in calls(model) for tensor in call.outputs}
    stack, needed = list(functional(model).outputs), set[int]()
    while stack:
        tensor = stack.pop()
        if id(tensor) in needed:
            continue
        needed.add(id(tensor))
        if id(tensor) in stand_ins:
            stack.append(stand_ins[id(tensor)])
        elif call := maker.get(id(tensor)):
            stack += call.inputs
    return needed


def _frozen(tensor: Any) -> Indices:
    return np.full((tensor.shape[-1] if tensor.shape else None) or 1, FROZEN)


def _is_plain(call: Call, args: Any, kwargs: Any) -> bool:
    """Whether all is known that a rule relies on: one output, fixed widths, no constant arrays."""
    tensors = (*call.inputs, *call.outputs)
    # A constant operand with a value per channel would keep its old width.
    arrays = [value for value in keras.tree.flatten((args, kwargs)) if np.ndim(value)]
    return (
        len(call.outputs) == 1
        and all(len(tensor.shape) > 1 and tensor.shape[-1] for tensor in tensors)
        and all(isinstance(value, keras.KerasTensor) for value in arrays)
        and getattr(call.operation, "data_format", None) in (None, "channels_last")
        and getattr(call.operation, "quantization_mode", None) is None
    )
