"""From an ONNX graph to an engine file, for TensorRT 8.6, 10 and 11 and for TensorRT-RTX.

All four have the same Python interface with different gaps. It comes in as the argument `trt`,
and what it can do is asked of it by name: version numbers say little and the integers behind
the enumerations differ. See docs/decisions/0003-strongly-typed-tensorrt.md.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from stages import progress
from stages.engines.base import BuildRequest
from stages.errors import EngineError

MESSAGES = logging.getLogger("tensorrt")
"""TensorRT's own messages: errors and warnings at INFO, everything else at DEBUG."""


def is_strongly_typed(trt: Any) -> bool:
    """Whether precision is decided by the graph's own types (TensorRT 9 and later, and RTX)."""
    return hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")


def network_flags(trt: Any) -> int:
    """Strong typing where it exists, and the explicit batch that 8.6 has to be asked for."""
    flags = trt.NetworkDefinitionCreationFlag
    wanted = ("STRONGLY_TYPED",) if is_strongly_typed(trt) else ("EXPLICIT_BATCH",)
    return sum(1 << int(getattr(flags, name)) for name in wanted)


def build(
    trt: Any, source: Path, out: Path, request: BuildRequest, builder_flags: Iterable[str] = ()
) -> None:
    """Build the ONNX graph `source` and write the engine file `out`.

    `builder_flags` are names of trt.BuilderFlag. Raises EngineError with what the parser or
    the builder said.
    """
    log = logger(trt)
    log.errors.clear()
    log.sparsity.clear()
    try:
        builder = trt.Builder(log)
    except TypeError as error:  # its constructor found no usable GPU
        raise EngineError(f"{trt.__name__} cannot start: {_said(log, error)}") from error
    network = builder.create_network(network_flags(trt))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(source.read_bytes()):
        raise EngineError(f"{trt.__name__} refuses {source.name}: {_parser_errors(parser)}")
    plan = builder.build_serialized_network(
        network, _config(trt, builder, network, request, builder_flags)
    )
    if plan is None:
        raise EngineError(f"{trt.__name__} cannot build {source.name}: {_said(log)}")
    out.write_bytes(plan)
    if verdict := sparsity_verdict(log.sparsity):
        progress.report(f"{out.name}: {verdict}")


def deserialize(trt: Any, file: Path) -> Any:
    """Open an engine file: trt.ICudaEngine. Raises EngineError with what TensorRT said."""
    log = logger(trt)
    log.errors.clear()
    try:
        engine = trt.Runtime(log).deserialize_cuda_engine(file.read_bytes())
    except TypeError as error:  # its constructor found no usable GPU
        raise EngineError(f"{trt.__name__} cannot start: {_said(log, error)}") from error
    if engine is None:
        raise EngineError(
            f"{trt.__name__} {trt.__version__} cannot open {file.name}: {_said(log)}",
            "an engine fits one version and one kind of GPU; run: pipeline run build --force",
        )
    return engine


@functools.cache
def logger(trt: Any) -> Any:
    """The one logger of this process: TensorRT keeps the first it is given, whatever follows.

    It passes messages on to `logging`, and keeps the errors in `errors` and what it says about
    2:4 weights in `sparsity`.
    """

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []
            self.sparsity: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(message)
            if message.startswith("(Sparsity)"):
                self.sparsity.append(message)
            notable = severity not in (trt.ILogger.INFO, trt.ILogger.VERBOSE)
            MESSAGES.log(logging.INFO if notable else logging.DEBUG, "%s", message)

    return Logger()


def sparsity_verdict(messages: Iterable[str]) -> str:
    """Which layers could have taken a sparse kernel, and which did; "" if none could.

    TensorRT tells it at level INFO, in two lines as in the issue 4056 of
    github.com/NVIDIA/TensorRT: "(Sparsity) Layers eligible for sparse math: Conv_0, Conv_4 +
    Relu_5" and "(Sparsity) TRT inference plan picked sparse implementation for layers: ...".
    """
    eligible: list[str] = []
    picked: list[str] = []
    for message in messages:
        said, _, names = message.partition(":")
        found = picked if "picked sparse" in said else eligible
        found += [name.strip() for name in names.split(",") if name.strip()]
    if not eligible:
        return ""
    return f"{len(picked)} of {len(eligible)} layers with 2:4 weights took a sparse kernel" + (
        f": {', '.join(picked)}" if picked else ", dense ones were faster"
    )


def _config(
    trt: Any, builder: Any, network: Any, request: BuildRequest, flags: Iterable[str]
) -> Any:
    """Workspace limit, flags, and one profile: from 1 image to the largest batch, best at 1."""
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request.workspace_mib << 20)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # layers keep their ONNX names
    for flag in flags:
        config.set_flag(getattr(trt.BuilderFlag, flag))
    # Sparse kernels are tried as well where weights are 2:4, and taken where they are faster.
    config.set_flag(trt.BuilderFlag.SPARSE_WEIGHTS)
    profile = builder.create_optimization_profile()
    sizes = request.signature.batch_sizes((1, request.max_batch_size))
    least, most = ((size, *request.signature.input_shape) for size in (sizes[0], sizes[-1]))
    profile.set_shape(network.get_input(0).name, least, least, most)
    config.add_optimization_profile(profile)
    return config


def _parser_errors(parser: Any) -> str:
    return "; ".join(str(parser.get_error(index)) for index in range(parser.num_errors))


def _said(log: Any, otherwise: object = "no reason given") -> str:
    return "; ".join(log.errors) or str(otherwise)
