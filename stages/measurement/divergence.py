"""Where an engine that does not compute what its graph says goes wrong first.

The graph is cut off behind a tensor, and what is left is built and run as the whole was, beside
ONNX Runtime, which runs it as it is written. Which tensor to cut at is found by halving: some seven
builds for a hundred tensors. As `polygraphy debug` does it, with one output in place of all: every
tensor that is marked keeps TensorRT from fusing what is around it.
"""

from __future__ import annotations

import dataclasses
import json
import pickle
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stages.artifacts.signature import Signature
from stages.engines import child, modules, onnxruntime
from stages.engines.base import BuildRequest, EngineModule, Images
from stages.engines.registry import ENGINES, QUANTIZED, EngineName
from stages.measurement.parity import relative_limit
from stages.results.engines import Divergence

if TYPE_CHECKING:
    import onnx

FLOATS = ("FLOAT", "FLOAT16")
MADE_OF_CONSTANTS = ("DequantizeLinear", "Constant")
QUANTIZED_RELATIVE = 0.1
"""Of the largest value of a tensor in INT8 or FP8: steps that were rounded the other way add up
from layer to layer, to a few of 127."""
IMAGES = 4
SECONDS = 900.0
"""For all builds of one engine."""


@dataclass(frozen=True)
class Search:
    """An engine of `backend` that was built from the graph `source`, images for it, and of several
    outputs the one that is off."""

    backend: str
    source: Path
    request: BuildRequest
    images: Images
    output: str | None = None


@dataclass(frozen=True)
class Place:
    """A tensor of a graph, the node that makes it, and its values per image."""

    tensor: str
    node: str
    values: int


def search_in_child(search: Search) -> Divergence | None:
    """`find`, in a process of its own: a builder that crashes must not take the engine with it.

    Raises ChildFailed.
    """
    with tempfile.TemporaryDirectory() as folder:
        asked = Path(folder, "search")
        asked.write_bytes(pickle.dumps(search))
        found = json.loads(child.answer(__name__, "tell", str(asked), seconds=SECONDS))
    return found and Divergence.model_validate(found)


def tell(asked: str) -> None:
    """The child of `search_in_child`."""
    search: Search = pickle.loads(Path(asked).read_bytes())
    found = find(search, modules.load(search.backend))
    print(json.dumps(found and found.model_dump(mode="json")))


def find(search: Search, module: EngineModule) -> Divergence | None:
    """The first tensor that is further off than the precision explains; None if none is when the
    graph is cut off behind it. Raises EngineError where a part cannot be built or run."""
    import onnx

    model = onnx.shape_inference.infer_shapes(onnx.load(search.source))
    if search.output is not None:  # what only others need is not before or behind its tensors
        model = _part(model, search.output)
    candidates = places(model)
    limit = _limit(search)
    apart: dict[int, float] = {}

    def is_off(index: int) -> bool:
        apart[index] = _difference(search, module, model, candidates[index])
        return not apart[index] <= limit

    first = first_off(len(candidates), is_off)
    if first is None:
        return None
    place = candidates[first]
    return Divergence(
        tensor=place.tensor,
        node=place.node,
        max_relative_difference=apart[first] if np.isfinite(apart[first]) else None,
        builds=len(apart),
    )


def _limit(search: Search) -> float:
    """That of the whole engine's check; of quantized ones, whose labels are checked, our own."""
    precision = search.request.precision
    if precision in QUANTIZED:
        return QUANTIZED_RELATIVE
    return relative_limit(EngineName(search.backend, precision), search.request.tensorrt.tf32)


def first_off(count: int, is_off: Callable[[int], bool]) -> int | None:
    """The first of the places 0 to `count` - 1 that is off, by halving; None if the last is not.

    What comes behind a place that is off is taken to be off as well.
    """
    if count == 0 or not is_off(count - 1):
        return None
    low, high = 0, count - 1
    while low < high:
        middle = (low + high) // 2
        if is_off(middle):
            high = middle
        else:
            low = middle + 1
    return high


def places(model: onnx.ModelProto) -> list[Place]:
    """The float tensors with images along their first axis that nodes of `model`, whose shapes are
    inferred, make; in order."""
    from onnx import TensorProto

    known = model.graph
    types = {each.name: each.type.tensor_type for each in (*known.value_info, *known.output)}
    batch = model.graph.input[0].type.tensor_type.shape.dim[0]
    found = []
    for node in model.graph.node:
        kind = types.get(node.output[0])
        if (
            node.op_type in MADE_OF_CONSTANTS
            or kind is None
            or TensorProto.DataType.Name(kind.elem_type) not in FLOATS
        ):
            continue
        first, *rest = kind.shape.dim or [None]
        sizes = [side.dim_value for side in rest]
        if first is not None and sizes and all(sizes) and first == batch:
            found.append(Place(node.output[0], node.name or node.output[0], prod(sizes)))
    return found


def cut(model: onnx.ModelProto, place: Place, signature: Signature) -> onnx.ModelProto:
    """What makes the tensor of `place`, which becomes the float32 output (N, values)."""
    from onnx import TensorProto, helper

    part = _part(model, place.tensor)
    inner = f"{place.tensor}.cut"
    for node in part.graph.node:
        for names in (node.input, node.output):
            names[:] = [inner if name == place.tensor else name for name in names]
    flat = f"{inner}.flat"
    part.graph.node.extend(
        [
            helper.make_node("Flatten", [inner], [flat], flat, axis=1),
            helper.make_node(
                "Cast", [flat], [signature.output_name], f"{flat}.cast", to=TensorProto.FLOAT
            ),
        ]
    )
    batch = model.graph.input[0].type.tensor_type.shape.dim[0]
    shape = [batch.dim_param or batch.dim_value, place.values]
    output = helper.make_tensor_value_info(signature.output_name, TensorProto.FLOAT, shape)
    del part.graph.output[:], part.graph.value_info[:]
    part.graph.output.append(output)
    return part


def _part(model: onnx.ModelProto, tensor: str) -> onnx.ModelProto:
    """What makes the `tensor`, which is the only output."""
    from onnx import utils

    inputs = [value.name for value in model.graph.input]
    return utils.Extractor(model).extract_model(inputs, [tensor])


def _difference(
    search: Search, module: EngineModule, model: onnx.ModelProto, place: Place
) -> float:
    """How far the engine of a part is from its graph, as a share of the largest value."""
    import onnx

    names = tuple(map(str, range(place.values)))
    signature = dataclasses.replace(
        search.request.signature,
        class_names=names,
        output_name=place.tensor,
        output_shape=(),
        task="classification",
        heads=(),
    )
    part = cut(model, place, signature)
    expected = onnxruntime.outputs(part, signature, search.images, as_written=True)
    wanted = expected[signature.output_name]
    with tempfile.TemporaryDirectory() as folder:
        graph, file = Path(folder, "part.onnx"), Path(folder, "part.engine")
        onnx.save(part, graph)
        # TensorRT 8.6 reads off the typed graph beside its own what stays in float32.
        typed = search.source.with_name(ENGINES[search.backend].sources[search.request.precision])
        if typed != search.source and typed.is_file():
            Path(folder, typed.name).symlink_to(typed.absolute())
        module.build(graph, file, dataclasses.replace(search.request, signature=signature))
        with module.Runner(file, signature) as engine:
            got = engine.infer(search.images)
    largest = max(float(np.abs(wanted).max()), float(np.finfo(np.float32).tiny))
    return float(np.abs(got - wanted).max()) / largest
