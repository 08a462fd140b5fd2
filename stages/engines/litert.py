"""LiteRT (TensorFlow Lite) on the CPU with XNNPACK kernels, float32 and INT8.

The convert stage has done the conversion. The build checks that the file runs on this machine,
which of its forms is faster (see keras_graph/paired_columns.py), and where the processor has
AMX, whether it is faster without (see amx.py). That answer travels in the engine file, behind
the FlatBuffer, where LiteRT does not look.
XNNPACK takes AMX or leaves it for a whole process: the first file that is opened decides.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.artifacts.node_names import layer_of
from stages.artifacts.signature import Signature
from stages.engines import amx, child, litert_interpreter
from stages.engines.base import (
    Blocker,
    BuildReport,
    BuildRequest,
    Engine,
    Images,
    Logits,
    missing_package,
)
from stages.engines.child import ChildFailed
from stages.engines.litert_interpreter import allocated
from stages.engines.registry import FEW_CHANNELS
from stages.errors import EngineError

if TYPE_CHECKING:
    from stages.results.engines import LayerFacts

PROBE_SECONDS = 0.3
"""For each form of a file; enough for thousands of calls of a small network."""

OPERANDS = {
    "CONV_2D": (0, 1),
    "DEPTHWISE_CONV_2D": (0, 1),
    "TRANSPOSE_CONV": (2, 1),
    "CONV_3D": (0, 1),
    "CONV_3D_TRANSPOSE": (2, 1),
    "FULLY_CONNECTED": (0, 1),
    "BATCH_MATMUL": (0, 1),
}
"""Operations with a kernel -> the places of image and kernel among their inputs."""
PRECISIONS = {"INT8": "int8", "FLOAT32": "fp32"}
Details = dict[str, dict[str, Any]]
"""What LiteRT tells of tensors, by their names."""
IN_FLOAT = f"that is faster where an image has fewer than {FEW_CHANNELS} channels"
"""Rule 5 of keras_graph/placement.py, which has the figures."""


def build_blocker() -> Blocker | None:
    """The package is all it needs."""
    return missing_package("litert")


run_blocker = build_blocker
"""What is built here also runs here."""


def paired_form(source: Path) -> Path:
    """The file of `source` with paired columns convolutions, which may not exist."""
    return source.with_suffix(".pairs.tflite")


def build(source: Path, out: Path, request: BuildRequest) -> BuildReport:
    """Time the forms of `source`, each in a process of its own, and copy the fastest to `out`.

    INT8 is run with and without AMX, float32 never uses it.

    Raises EngineError with LiteRT's message, also if it crashed.
    """
    forms = [form for form in (source, paired_form(source)) if form.is_file()]
    has_choice = request.precision == "int8" and amx.is_available()
    uses = ("with", "without") if has_choice else ("with",)
    candidates = [(form, use) for form in forms for use in uses]
    # The only one is still run: it may crash.
    seconds = min(PROBE_SECONDS, request.max_seconds) if len(candidates) > 1 else 0.0
    # In processes of their own: XNNPACK decides about AMX once per process, and which form is
    # faster depends on how many channels its kernels compute at a time (decision 18).
    latency_ms = {(form, use): probe(form, use, seconds) for form, use in candidates}
    fastest, use = min(latency_ms, key=lambda tried: latency_ms[tried])
    out.write_bytes(fastest.read_bytes() + (amx.WITHOUT_AMX if use == "without" else b""))
    found = tuple(layers(fastest.read_bytes(), request))
    if fastest == source:
        return BuildReport(found)
    others = min(ms for (form, _), ms in latency_ms.items() if form == source)
    return BuildReport(
        found,
        remarks=(
            f"narrow convolutions compute two columns at once: "
            f"{latency_ms[fastest, use]:.4f} instead of {others:.4f} ms",
        ),
    )


def layers(content: bytes, request: BuildRequest) -> Iterator[LayerFacts]:
    """The convolutions and matrix products of a `.tflite` file, in the order of execution.

    The types of its operands say what an operation computes in: each runs as the file requests,
    only that a float image is rounded for an INT8 kernel, on a grid made for each call.
    """
    from ai_edge_litert import schema_py_generated as schema

    from stages.results.engines import LayerFacts

    model = schema.Model.GetRootAs(content, 0)
    graph = model.Subgraphs(0)
    kinds = {code: kind for kind, code in vars(schema.BuiltinOperator).items() if kind in OPERANDS}
    types = {code: PRECISIONS.get(name, name) for name, code in vars(schema.TensorType).items()}
    computed = set(graph.InputsAsNumpy().tolist())
    # Inputs with few channels, and what is made of them without kernels.
    few = {each for each in computed if graph.Tensors(each).ShapeAsNumpy()[-1] < FEW_CHANNELS}
    for operator in map(graph.Operators, range(graph.OperatorsLength())):
        code = model.OperatorCodes(operator.OpcodeIndex())
        kind = kinds.get(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()))
        read = computed.intersection(operator.InputsAsNumpy().tolist())
        computed.update(operator.OutputsAsNumpy().tolist())
        if kind is None:
            if read and read <= few:
                few.update(operator.OutputsAsNumpy().tolist())
            continue
        place, _ = OPERANDS[kind]
        image, kernel = (graph.Tensors(operator.Inputs(place)) for place in OPERANDS[kind])
        requested, stored = types[image.Type()], types[kernel.Type()]
        is_float = request.precision == "int8" and stored == "fp32"
        # Rule 5 of keras_graph/placement.py.
        is_on_purpose = is_float and kind == "CONV_2D" and operator.Inputs(place) in few
        result = graph.Tensors(operator.Outputs(0)).Name().decode()
        # The second factor of a product of what is computed belongs to the layer before it.
        owners = (result,) if kind == "BATCH_MATMUL" else (kernel.Name().decode(), result)
        name = next(filter(None, map(layer_of, owners)), result)
        yield LayerFacts(
            name=name,
            nodes=(name,),
            kind=kind,
            requested=requested,
            executed=stored if stored == requested else f"{stored} kernel, {requested} image",
            reason=IN_FLOAT if is_on_purpose else None,
        )


class Runner(Engine):
    """An interpreter that stays allocated for the batch size of its last call."""

    _interpreter: Any = None

    def _open(self) -> None:
        without_amx = amx.is_unwanted(self.file)
        self._interpreter = allocated(self.file, self.threads, without_amx)
        inputs = inputs_of(self._interpreter, self.signature)
        outputs = outputs_of(self._interpreter, self.signature)
        shapes = {name: each["shape_signature"][1:].tolist() for name, each in outputs.items()}
        self._expect_outputs(shapes)
        self._outputs = [outputs[name] for name in self.signature.output_names]
        self._rows = 0
        kinds = {own.input_name: own.dtype for own in self.signature.each_input}
        self._expect_inputs(
            {
                name: (each["shape"][1:].tolist(), _kind(each, kinds.get(name)))
                for name, each in inputs.items()
            }
        )
        self._inputs = [
            (
                inputs[name]["index"],
                None if inputs[name]["dtype"].__name__ == kind else inputs[name],
            )
            for name, kind in kinds.items()
        ]

    def _infer(self, images: Images) -> Logits:
        if isinstance(images, list):
            self._fill(images)
        else:  # the same without a loop, which of calls of 10 us would be 5 %
            if len(images) != self._rows:
                self._resize([images])
            index, steps = self._inputs[0]
            self._interpreter.set_tensor(index, quantize(images, steps) if steps else images)
        self._interpreter.invoke()
        return self.signature.joined([self._returned(each) for each in self._outputs])

    def _fill(self, arrays: Sequence[NDArray[Any]]) -> None:
        if len(arrays[0]) != self._rows:
            self._resize(arrays)
        for (index, steps), array in zip(self._inputs, arrays, strict=True):
            self._interpreter.set_tensor(index, quantize(array, steps) if steps else array)

    def _returned(self, output: dict[str, Any]) -> Logits:
        # A copy. `tensor()` would return a view, which the next call overwrites.
        found: Logits = self._interpreter.get_tensor(output["index"])
        return found if found.dtype == np.float32 else dequantize(found, output)

    def _resize(self, arrays: Sequence[NDArray[Any]]) -> None:
        # Until the tensors are allocated: after a failure the next call must resize again.
        self._rows = 0
        for (index, _), array in zip(self._inputs, arrays, strict=True):
            self._interpreter.resize_tensor_input(index, array.shape)
        self._interpreter.allocate_tensors()
        self._rows = len(arrays[0])

    def _close(self) -> None:
        self._interpreter = None


def quantize(images: NDArray[Any], tensor: dict[str, Any]) -> NDArray[Any]:
    """`images` as levels of `tensor` (its details): round(x / scale) + zero point, saturated."""
    scale, zero_point = tensor["quantization"]
    limits = np.iinfo(tensor["dtype"])
    levels = np.rint(images / np.float32(scale)) + zero_point
    saturated: NDArray[Any] = np.clip(levels, limits.min, limits.max).astype(tensor["dtype"])
    return saturated


def dequantize(levels: NDArray[Any], tensor: dict[str, Any]) -> Logits:
    """Levels of `tensor` (its details) as float32: (level - zero point) * scale."""
    scale, zero_point = tensor["quantization"]
    values: Logits = (levels.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)
    return values


def probe(file: Path, amx_use: str, seconds: float) -> float:
    """Median latency in ms at batch 1 in a new process, "with" or "without" AMX.

    It is called for so many seconds, at least once.
    """
    try:
        return float(
            child.answer(litert_interpreter.__name__, "print_latency", str(file), amx_use, seconds)
        )
    except ChildFailed as error:
        raise EngineError(
            f"LiteRT cannot run {file.name} (exit status {error.status}): {error.reason}",
            "run: pipeline run convert --force",
        ) from error


class Inside(NamedTuple):
    """An int8 tensor inside a model: (value - zero_point) * scale."""

    values: NDArray[np.int8]
    scale: float
    zero_point: int


def tensors(
    file: Path, signature: Signature, images: Images
) -> tuple[list[Inside], list[NDArray[np.float32]]]:
    """The int8 tensors of `file` with one scale, for `images`, and the outputs in the order of
    `signature`.

    The kernels are XNNPACK's, as in the Runner, but called one by one.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*experimental_preserve_all_tensors")
        interpreter = allocated(file, 1, without_amx=False, experimental_preserve_all_tensors=True)
    sources, targets = inputs_of(interpreter, signature), outputs_of(interpreter, signature)
    fed = signature.by_name(images)
    for name, array in fed.items():
        interpreter.resize_tensor_input(sources[name]["index"], array.shape)
    interpreter.allocate_tensors()
    for name, array in fed.items():
        interpreter.set_tensor(sources[name]["index"], array)
    interpreter.invoke()
    inside = [
        Inside(interpreter.get_tensor(each["index"]), *each["quantization"])
        for each in interpreter.get_tensor_details()
        if each["dtype"] is np.int8 and each["quantization"][0]
    ]
    return inside, [
        interpreter.get_tensor(targets[name]["index"]) for name in signature.output_names
    ]


def input_names(content: bytes) -> set[str]:
    """Those in the signature of a `.tflite`; none if it has no such."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(content, 0)
    if not model.SignatureDefsLength():
        return set()
    found = model.SignatureDefs(0)
    return {found.Inputs(place).Name().decode() for place in range(found.InputsLength())}


def with_input_names(content: bytes, names: Mapping[str, str]) -> bytes:
    """A `.tflite` whose signature calls each input in `names` by another name of the same length,
    which is written over the old one: nothing else of the file moves."""
    from ai_edge_litert import schema_py_generated as schema

    signature = schema.Model.GetRootAs(content, 0).SignatureDefs(0)
    changed = bytearray(content)
    for each in map(signature.Inputs, range(signature.InputsLength())):
        table, old = each._tab, each.Name()
        start = table.Indirect(table.Pos + table.Offset(4)) + 4  # the first field, behind its size
        changed[start : start + len(old)] = names[old.decode()].encode()
    return bytes(changed)


def inputs_of(interpreter: Any, signature: Signature) -> Details:
    """Details of the inputs by name: the only one is known by its place, several are by their names
    in the file's own signature, if it has one."""
    if not signature.inputs:
        return {signature.input_name: interpreter.get_input_details()[0]}
    return _named(interpreter, lambda runner: runner.get_input_details())


def outputs_of(interpreter: Any, signature: Signature) -> Details:
    """Details of the outputs by name, as `inputs_of` has those of the inputs."""
    if not signature.heads:
        return {signature.output_name: interpreter.get_output_details()[0]}
    return _named(interpreter, lambda runner: runner.get_output_details())


def _named(interpreter: Any, details: Callable[[Any], Details]) -> Details:
    return details(interpreter.get_signature_runner()) if interpreter.get_signature_list() else {}


def _kind(tensor: dict[str, Any], wanted: str | None) -> str:
    """The type of an input: if it takes steps, which are made here, that which is `wanted`."""
    own: str = tensor["dtype"].__name__
    return wanted if wanted and tensor["quantization"][0] else own
