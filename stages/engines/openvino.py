"""OpenVINO on the CPU, float32 and INT8.

The engine file is OpenVINO's own representation of the graph, `model.xml` and `model.bin` in one
ZIP archive, whose checksums find a damaged file. It is compiled when it is opened: the compiled
form that OpenVINO can export is tied to one release and one kind of processor, and is compiled
again all the same.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stages.artifacts.archives import DAMAGED
from stages.artifacts.signature import Signature
from stages.engines import child
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
from stages.engines.layers import requested
from stages.engines.registry import Precision
from stages.errors import EngineError

if TYPE_CHECKING:
    import onnx

    from stages.results.engines import LayerFacts

GRAPH, WEIGHTS = "model.xml", "model.bin"
"""Members of an engine file; its comment is the OpenVINO that wrote it."""

DESCRIBED = ("layerType", "primitiveType", "runtimePrecision", "originalLayersNames")
NO_KERNELS = ("Input", "Const", "Output")
MATRIX_KERNELS = ("Convolution", "Deconvolution", "FullyConnected", "MatMul")
SPLIT = "/WithoutBiases"
PRECISIONS = {"u8": "int8", "i8": "int8", "f16": "fp16", "bf16": "bf16", "f32": "fp32"}

HINTS = {
    # A call is one request at a time; the hint for throughput splits the threads over several.
    "PERFORMANCE_HINT": "LATENCY",
    # Float graphs are computed in bfloat16 otherwise, where the processor has it.
    "INFERENCE_PRECISION_HINT": "f32",
    # Two engines of one process would be pinned to the same cores; alone it gains nothing.
    "ENABLE_CPU_PINNING": False,
}

TRY_AGAIN = "run: pipeline run build --force"


def build_blocker() -> Blocker | None:
    """Building looks into the graph as well, which needs the package onnx."""
    return missing_package("openvino", "openvino", "onnx")


def run_blocker() -> Blocker | None:
    """The package is all it needs."""
    return missing_package("openvino")


def build(source: Path, out: Path, request: BuildRequest) -> BuildReport:
    """Write the ONNX graph `source` to `out` and compile it once to see its kernels.

    Raises EngineError.
    """
    import onnx

    write(source, out)
    asked = requested(onnx.load(source, load_external_data=False))
    return BuildReport(tuple(layers(kernels(out), asked)))


def write(source: Path, out: Path) -> None:
    """Write the ONNX graph `source` to the engine file `out`. Raises EngineError."""
    openvino = _openvino()
    try:
        model = openvino.Core().read_model(str(source))
    except RuntimeError as error:
        raise EngineError(
            f"OpenVINO cannot load {source.name}: {_reason(error)}",
            "run: pipeline run convert --force",
        ) from error
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(out, "w") as archive:
        files = [Path(folder) / name for name in (GRAPH, WEIGHTS)]
        _number(model)
        openvino.serialize(model, *map(str, files))
        for file in files:
            # A ZipInfo's own date is a constant: the same graph is the same file each time.
            archive.writestr(zipfile.ZipInfo(file.name), file.read_bytes())
        archive.comment = openvino.get_version().encode()


def _number(model: Any) -> None:
    """Number the nodes without a name of their own, which are named by what the process has counted
    before: the same graph would be another file."""
    for index, node in enumerate(model.get_ordered_ops()):
        if node.friendly_name == node.name:
            node.friendly_name = f"{node.get_type_name()}_{index}"


def kernels(file: Path) -> list[dict[str, str]]:
    """DESCRIBED and `name` of each kernel of an engine file. Raises EngineError.

    In a process of its own: compiling asks for AMX, which other engines may have to decline.
    """
    try:
        return list(json.loads(child.answer(__name__, "print_kernels", str(file))))
    except ChildFailed as error:
        raise EngineError(
            f"OpenVINO cannot compile {file.name} (exit status {error.status}): {error.reason}",
            "run: pipeline run convert --force",
        ) from error


def outputs(
    graph: onnx.ModelProto, signature: Signature, images: Images
) -> dict[str, NDArray[Any]]:
    """All outputs of `graph` for `images` by name."""
    openvino = _openvino()
    model = openvino.Core().read_model(io.BytesIO(graph.SerializeToString()))
    fed = signature.by_name(images)
    model.reshape({name: list(array.shape) for name, array in fed.items()})
    compiled = openvino.Core().compile_model(model, "CPU", HINTS)
    values = compiled(fed)
    return {output.name: values[compiled.output(output.name)] for output in graph.graph.output}


def layers(
    kernels: Iterable[Mapping[str, str]], asked: Mapping[str, Precision]
) -> Iterator[LayerFacts]:
    """Requested and executed precision of `kernels`; `asked` is that of layers.requested."""
    from stages.results.engines import LayerFacts

    for kernel in kernels:
        kind, executed = kernel["layerType"], kernel["runtimePrecision"]
        if kind in NO_KERNELS:
            continue
        # A matrix product is split into itself, transposes and a bias, which lengthens its name.
        names = (name.partition(SPLIT)[0] for name in kernel["originalLayersNames"].split(","))
        nodes = tuple(dict.fromkeys(filter(None, names)))
        precisions = [asked[node] for node in nodes if node in asked and kind in MATRIX_KERNELS]
        yield LayerFacts(
            name=kernel["name"],
            nodes=nodes,
            kind=kind,
            requested=precisions[0] if precisions else None,
            executed=PRECISIONS.get(executed, executed),
            tactic=kernel["primitiveType"],
        )


class Runner(Engine):
    """A graph compiled for the batch size of its last call.

    With an open batch OpenVINO is 15 to 25 % slower. Input tensors are set once and filled in
    place: handing an array to every call costs 40 us. The result is a copy.
    """

    _model: Any = None
    _inputs: list[Any]
    _outputs: list[Any]
    _request: Any = None

    def _open(self) -> None:
        self._model, self._batch_size = _read(self.file), 0
        try:
            sources = _by_name(self._model.inputs, set(self.signature.input_names))
            self._expect_inputs(
                {name: (_shape(port), _type(port)) for name, port in sources.items()}
            )
            targets = _by_name(self._model.outputs, set(self.signature.output_names))
            self._expect_outputs({name: _shape(port) for name, port in targets.items()})
            self._resize(self.signature.batch_size or 1)
        except RuntimeError as error:
            self._close()
            raise EngineError(
                f"OpenVINO cannot compile {self.file.name}: {_reason(error)}", TRY_AGAIN
            ) from error

    def _infer(self, images: Images) -> Logits:
        if isinstance(images, list):
            self._fill(images)
        else:  # the same without a loop, which of calls of 10 us would be 5 %
            if len(images) != self._batch_size:
                self._resize(len(images))
            self._inputs[0][...] = images
        self._request.infer()
        # The tensors belong to the request: the next call overwrites them.
        found = self.signature.joined(self._outputs)
        return found if self.signature.heads else found.copy()

    def _fill(self, arrays: Sequence[NDArray[Any]]) -> None:
        if len(arrays[0]) != self._batch_size:
            self._resize(len(arrays[0]))
        for held, array in zip(self._inputs, arrays, strict=True):
            held[...] = array

    def _resize(self, batch_size: int) -> None:
        openvino = _openvino()
        # Until the new request is complete: after a failure the next call must compile again.
        self._batch_size = 0
        each, names = self.signature.each_input, self.signature.input_names
        shapes = [[batch_size, *own.input_shape] for own in each]
        self._model.reshape(dict(zip(names, shapes, strict=True)))
        hints = {**HINTS, "INFERENCE_NUM_THREADS": self.threads}
        self._request = (
            openvino.Core().compile_model(self._model, "CPU", hints).create_infer_request()
        )
        tensors = [
            openvino.Tensor(openvino.Type(np.dtype(own.dtype)), openvino.Shape(shape))
            for own, shape in zip(each, shapes, strict=True)
        ]
        for name, tensor in zip(names, tensors, strict=True):
            self._request.set_tensor(name, tensor)
        self._inputs = [tensor.data for tensor in tensors]
        self._outputs = [
            self._request.get_tensor(name).data for name in self.signature.output_names
        ]
        self._batch_size = batch_size

    def _close(self) -> None:
        self._model = self._request = None
        self._inputs, self._outputs = [], []


def _by_name(ports: Iterable[Any], wanted: Set[str]) -> dict[str, Any]:
    """The inputs or outputs of a model by those of their names that are `wanted`, or by all."""
    return {name: port for port in ports for name in port.get_names() & wanted or port.get_names()}


def _shape(port: Any) -> list[int | None]:
    """Of one sample; an open size is None."""
    sizes = (None if size.is_dynamic else size.get_length() for size in port.get_partial_shape())
    return list(sizes)[1:]


def _type(port: Any) -> str:
    return str(port.get_element_type().to_dtype().name)


def _read(file: Path) -> Any:
    """The graph of an engine file. Raises EngineError."""
    openvino = _openvino()
    try:
        with zipfile.ZipFile(file) as archive:
            graph, weights = archive.read(GRAPH), archive.read(WEIGHTS)
            writer = archive.comment.decode(errors="replace")
    except (*DAMAGED, KeyError) as error:
        raise EngineError(
            f"OpenVINO cannot load {file.name}: the file is damaged or not one of its engines "
            f"({error})",
            TRY_AGAIN,
        ) from error
    try:
        return openvino.Core().read_model(graph, openvino.Tensor(np.frombuffer(weights, np.uint8)))
    except RuntimeError as error:
        raise EngineError(
            f"OpenVINO {openvino.get_version()} cannot load {file.name}, "
            f"written by {writer or 'an unknown release'}: {_reason(error)}",
            TRY_AGAIN,
        ) from error


def print_kernels(file: str) -> None:
    """In a child: compile an engine file and print what its kernels are, as JSON."""
    try:
        model = _read(Path(file))
        compiled = _openvino().Core().compile_model(model, "CPU", HINTS)
    except EngineError as error:
        sys.exit(error.message)
    found = [
        {"name": kernel.get_friendly_name(), **{key: str(info[key].value) for key in DESCRIBED}}
        for kernel in compiled.get_runtime_model().get_ordered_ops()
        for info in [kernel.get_rt_info()]
    ]
    sys.stdout.write(json.dumps(found) + "\n")


def _reason(error: Exception) -> str:
    """What went wrong, without the places in OpenVINO's own sources."""
    lines = [line.strip() for line in str(error).splitlines()]
    reasons = [line for line in lines if line and not line.startswith("Exception from ")]
    return (reasons or lines or ["no reason given"])[-1]


def _openvino() -> Any:
    """The runtime. Its import would report to its makers over the network; here it cannot."""
    # None makes the import fail, which OpenVINO takes for "not installed" (decision 14).
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino
