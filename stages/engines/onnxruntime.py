"""ONNX Runtime on the CPU.

The build does the optimisations that hold on every CPU (folding, fusing, INT8 kernels for
Q/DQ pairs) and keeps the result as the engine file. Opening adds what depends on the CPU at
hand (the blocked NCHWc layout), which takes a few milliseconds: written into the file it would
be no faster, and wrong on a CPU with other vector registers.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stages.artifacts.signature import Signature
from stages.engines import amx
from stages.engines.base import (
    Blocker,
    BuildReport,
    BuildRequest,
    Engine,
    Images,
    Logits,
    missing_package,
)
from stages.engines.layers import requested
from stages.engines.registry import Precision
from stages.errors import EngineError

if TYPE_CHECKING:
    import onnx

    from stages.results.engines import IntegerKernels, LayerFacts

WRONG_FUSIONS = ["Pad_Fusion"]
"""Zero padding before a MaxPool becomes the MaxPool's own, which pads with minus infinity:
ResNet50V2 is then wrong by 1e-3 (seen in ONNX Runtime 1.31)."""

ERRORS_ONLY = 3
TYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8"}

INTEGER_KERNELS = ("QLinearConv", "ConvInteger", "QGemm", "QLinearMatMul", "MatMulInteger")
FLOAT_KERNELS = (
    *("Conv", "FusedConv", "ConvTranspose", "Gemm", "FusedGemm", "MatMul", "FusedMatMul"),
)


def build_blocker() -> Blocker | None:
    """Building looks into the graph as well, which needs the package onnx."""
    return missing_package("onnxruntime", "onnxruntime", "onnx")


def run_blocker() -> Blocker | None:
    """The package is all it needs."""
    return missing_package("onnxruntime")


def build(source: Path, out: Path, request: BuildRequest) -> BuildReport:
    """Optimise the ONNX graph `source` and write it to `out`. Raises EngineError."""
    import onnx

    _session(source, 1, "ORT_ENABLE_EXTENDED", str(out))
    asked = requested(onnx.load(source, load_external_data=False))
    return BuildReport(tuple(layers(onnx.load(out), asked)))


def layers(optimised: onnx.ModelProto, asked: Mapping[str, Precision]) -> Iterator[LayerFacts]:
    """The convolutions and matrix products of an engine file; the precision follows from the kind.

    `asked` is that of layers.requested. A node keeps its name when it is fused with the next.
    """
    from stages.results.engines import LayerFacts

    for node in optimised.graph.node:
        if node.op_type in (*INTEGER_KERNELS, *FLOAT_KERNELS):
            name = node.name.removeprefix("fused ")
            yield LayerFacts(
                name=node.name,
                nodes=(name,),
                kind=node.op_type,
                requested=asked.get(name),
                executed="int8" if node.op_type in INTEGER_KERNELS else "fp32",
            )


class Runner(Engine):
    """A session with a fixed number of threads.

    `run` takes and returns NumPy arrays: I/O binding costs more than it saves on nets that
    take microseconds (32 us against 3 us a call).
    """

    _session: Any = None

    def _open(self) -> None:
        self._session = _session(self.file, self.threads)
        self._outputs = list(self.signature.output_names)
        sources, targets = self._session.get_inputs(), self._session.get_outputs()
        self._expect_outputs({target.name: target.shape[1:] for target in targets})
        self._expect_inputs(
            {each.name: (each.shape[1:], TYPES.get(each.type, each.type)) for each in sources}
        )

    def _infer(self, images: Images) -> Logits:
        found = self._session.run(self._outputs, self.signature.by_name(images))
        return self.signature.joined(found)

    def _close(self) -> None:
        self._session = None


def _session(
    source: Path | bytes,
    threads: int,
    level: str = "ORT_ENABLE_ALL",
    optimised_file: str = "",
    profile: str = "",
) -> Any:
    """A session of a file or of the bytes of a graph. Raises EngineError."""
    # ONNX Runtime asks for AMX when its library is loaded, so it is the import
    # that is guarded, not the session.
    with amx.without_amx():
        import onnxruntime

    options = onnxruntime.SessionOptions()
    if profile:
        options.enable_profiling, options.profile_file_prefix = True, profile
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = ERRORS_ONLY
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.optimized_model_filepath = optimised_file
    try:
        return onnxruntime.InferenceSession(
            source if isinstance(source, bytes) else str(source),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=WRONG_FUSIONS,
        )
    except Exception as error:  # its error classes have no base but Exception
        name = "the graph" if isinstance(source, bytes) else source.name
        raise EngineError(
            f"ONNX Runtime cannot load {name}: {error}", "run: pipeline run build --force"
        ) from error


def interpret(graph: Path | bytes, signature: Signature, images: NDArray[Any]) -> Logits:
    """Logits of a file or its bytes as it is written, node by node, nothing fused, for raw images.

    Graphs for other engines are checked so: when it optimises, ONNX Runtime 1.31 computes an FP16
    graph with Q/DQ pairs wrongly, by half of the largest logit.
    """
    session = _session(graph, 0, "ORT_DISABLE_ALL")

    def infer(batch: Images) -> Logits:
        found = session.run(signature.output_names, signature.by_name(batch))
        return signature.joined(found)

    batches = signature.batches(images, len(images))
    return np.concatenate([infer(batch) for batch in batches])[: len(images)]


def outputs(
    graph: onnx.ModelProto, signature: Signature, images: Images, *, as_written: bool = False
) -> dict[str, NDArray[Any]]:
    """All outputs of `graph` for `images` by name: as it runs, fused and with integer kernels, or
    node by node `as_written`."""
    return next(outputs_of_batches(graph, signature, [images], as_written=as_written))


def outputs_of_batches(
    graph: onnx.ModelProto,
    signature: Signature,
    batches: Iterable[Images],
    *,
    as_written: bool = False,
) -> Iterator[dict[str, NDArray[Any]]]:
    """The same for each of `batches`."""
    level = "ORT_DISABLE_ALL" if as_written else "ORT_ENABLE_ALL"
    # From a file, which takes no memory: a session keeps the bytes that it is given.
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "graph.onnx"
        file.write_bytes(graph.SerializeToString())
        del graph
        session = _session(file, 0, level)
    names = [output.name for output in session.get_outputs()]
    for images in batches:
        values = session.run(names, signature.by_name(images))
        yield dict(zip(names, values, strict=True))


def node_milliseconds(
    graph: onnx.ModelProto, signature: Signature, images: Images, runs: int = 30
) -> dict[str, float]:
    """Median time of every node of `graph` by name, executed as it is written, one thread."""
    # Nothing fused: a fused node would have the time of several layers under the name of one.
    with tempfile.TemporaryDirectory() as folder:
        session = _session(
            graph.SerializeToString(), 1, "ORT_DISABLE_ALL", profile=f"{folder}/profile"
        )
        for _ in range(runs):
            session.run(None, signature.by_name(images))
        events = json.loads(Path(session.end_profiling()).read_text())
    durations: dict[str, list[float]] = {}
    for event in events:
        name = event["name"].removesuffix("_kernel_time")
        if event.get("cat") == "Node" and name != event["name"]:
            durations.setdefault(name, []).append(event["dur"] / 1000)
    return {name: float(np.median(found)) for name, found in durations.items()}


def integer_kernels(engine: Path) -> IntegerKernels:
    """How many convolutions and matrix products of an engine file are integer, how many float."""
    import onnx

    from stages.results.engines import IntegerKernels

    kinds = [node.op_type for node in onnx.load(engine).graph.node]
    return IntegerKernels(
        integer=sum(kind in INTEGER_KERNELS for kind in kinds),
        floating=sum(kind in FLOAT_KERNELS for kind in kinds),
    )
