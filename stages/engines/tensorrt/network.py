"""From an ONNX graph to an engine file, for TensorRT 8.6, 10 and 11 and for TensorRT-RTX.

All four have the same Python interface with different gaps. It comes in as the argument `trt`, and
features are detected by name: version numbers say little and the integers behind the
enumerations differ. See docs/decisions/0003-strongly-typed-tensorrt.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from stages.engines.base import BuildReport, BuildRequest
from stages.engines.cuda.memory import gpu_blocker
from stages.engines.layers import requested
from stages.engines.registry import Precision
from stages.engines.tensorrt import build_info, drawing, float32_nodes, layers, options, weights
from stages.engines.tensorrt.logger import logger, said, sparsity_verdict
from stages.errors import EngineError
from stages.results.engines import LayerFacts

COULD_NOT_START = "see: nvidia-smi"


def is_strongly_typed(trt: Any) -> bool:
    """Whether precision is decided by the graph's own types (TensorRT 9 and later, and RTX).

    8.6 is told by what it has and later ones lack: flags are deprecated once all networks have
    what they ask for, and go.
    """
    flags = trt.NetworkDefinitionCreationFlag
    return hasattr(flags, "STRONGLY_TYPED") or not hasattr(flags, "EXPLICIT_BATCH")


def network_flags(trt: Any) -> int:
    """Strong typing where it exists, and the explicit batch that 8.6 needs as a flag."""
    flags = trt.NetworkDefinitionCreationFlag
    # Not the flags that only allow a precision: with those a layer may silently run in float32, a
    # common complaint about INT8 engines (decision 3).
    wanted = ("STRONGLY_TYPED",) if is_strongly_typed(trt) else ("EXPLICIT_BATCH",)
    return sum(1 << int(getattr(flags, name)) for name in wanted if hasattr(flags, name))


def build(
    trt: Any,
    source: Path,
    out: Path,
    request: BuildRequest,
    builder_flags: Iterable[str] = (),
    timing_cache: Path | None = None,
    float32: dict[str, bool] | None = None,
) -> BuildReport:
    """Build the ONNX graph `source` and write the engine file `out`.

    `builder_flags` are names of trt.BuilderFlag. `timing_cache` is a file that is read, if it
    exists, and written. `float32` are nodes that no flag may round: see float32_nodes.py. Raises
    EngineError with the message of the parser or the builder.
    """
    import onnx

    options.check(trt, request.tensorrt)
    log = logger(trt)
    log.clear()
    try:
        builder = trt.Builder(log)
    except TypeError as error:  # its constructor found no usable GPU
        message = f"{trt.__name__} cannot start: {said(log, error)}"
        raise EngineError(message, COULD_NOT_START) from error
    network = builder.create_network(network_flags(trt))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(source.read_bytes()):
        raise EngineError(f"{trt.__name__} refuses {source.name}: {_parser_errors(parser)}")
    flags, graph = list(builder_flags), onnx.load(source)
    flags += options.flags(trt, graph, request.tensorrt)
    config = _config(trt, builder, request, flags)
    if float32:
        float32_nodes.hold(trt, network, config, float32)
    if timing_cache is not None:
        _use_timing_cache(config, timing_cache, request.tensorrt.timing_cache)
    asked = requested(graph, "fp16" if "FP16" in flags else None)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise EngineError(f"{trt.__name__} cannot build {source.name}: {said(log)}")
    if timing_cache is not None:
        timing_cache.write_bytes(config.get_timing_cache().serialize())
    out.write_bytes(plan)
    verdict = sparsity_verdict(log.sparsity)
    # Not a layer that runs wider than asked for: it was held back.
    asked |= {name: "fp32" for name in asked if (float32 or {}).get(name) is False}
    found, fault = _described(trt, plan, out, request, asked)
    stripped = weights.keep(source, out) if request.tensorrt.weight_stripped else ""
    remarks = tuple(filter(None, (stripped, verdict, fault)))
    return BuildReport(found, remarks, kernels=len(found) or None)


def deserialize(trt: Any, file: Path) -> Any:
    """Open an engine file: trt.ICudaEngine. Raises EngineError with TensorRT's message."""
    log = logger(trt)
    log.clear()
    now = build_info.here(trt)
    build_info.check(file, now)
    built = build_info.read(file)
    try:
        runtime = trt.Runtime(log)
        plan = file.read_bytes()
        if built and not built[1].to_version:
            runtime.engine_host_code_allowed = True  # it brings a runtime of its own version
        engine = runtime.deserialize_cuda_engine(plan)
    except TypeError as error:  # its constructor found no usable GPU
        message = f"{trt.__name__} cannot start: {said(log, error)}"
        raise EngineError(message, COULD_NOT_START) from error
    if engine is None:
        origin = f"; it was built for: {built[0]}" if built else ""
        raise EngineError(
            f"{file.name} cannot be opened: {said(log, _diagnosis(trt, runtime, plan))}"
            f"{origin}; this machine has: {now}",
            "an engine fits one version and one kind of GPU; run: pipeline run build --force",
        )
    if built and built[1].is_stripped:
        weights.refit(trt, engine, file, log)
    return engine


def _diagnosis(trt: Any, runtime: Any, plan: bytes) -> str:
    """Why TensorRT-RTX refuses an engine, by its own names."""
    if not hasattr(runtime, "get_engine_validity"):
        return "no reason given"
    _, bits = runtime.get_engine_validity(plan)
    kinds = trt.EngineInvalidityDiagnostics.__members__
    found = [name for name, kind in kinds.items() if int(bits) & int(kind)]
    return ", ".join(found) or "no reason given"


def _config(trt: Any, builder: Any, request: BuildRequest, flags: Iterable[str]) -> Any:
    """Workspace limit, flags, no TF32 unless wanted, and a profile per batch size."""
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request.workspace_mib << 20)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # layers keep their ONNX names
    config.builder_optimization_level = request.tensorrt.optimization_level
    for flag in flags:
        config.set_flag(getattr(trt.BuilderFlag, flag))
    # On by default: 10 bits of mantissa in what is called float32, an error that no parity check
    # would take for rounding.
    if not request.tensorrt.tf32 and hasattr(trt.BuilderFlag, "TF32"):
        config.clear_flag(trt.BuilderFlag.TF32)
    options.set_gpus(trt, config, request.tensorrt)
    # 8.6 has to be asked to let two contexts share a profile; later ones always do.
    features: Any = getattr(trt, "PreviewFeature", None)
    if hasattr(features, "PROFILE_SHARING_0806"):
        config.set_preview_feature(features.PROFILE_SHARING_0806, True)
    for sizes in request.profiles:
        profile = builder.create_optimization_profile()
        for own in request.signature.each_input:
            profile.set_shape(own.input_name, *((size, *own.input_shape) for size in sizes))
        config.add_optimization_profile(profile)
    return config


def _use_timing_cache(config: Any, own: Path, given: Path | None) -> None:
    """Start from the timings of this run, else from the user's cache, else from none."""
    if given is not None and not given.is_file():
        raise EngineError(f"there is no timing cache {given}", "set tensorrt.timing_cache")
    found = own if own.is_file() else given
    cache = config.create_timing_cache(found.read_bytes() if found else b"")
    if not config.set_timing_cache(cache, ignore_mismatch=False):
        raise EngineError(
            f"the timing cache {found} is of another GPU or another TensorRT",
            "leave it out: --set tensorrt.timing_cache=null",
        )


def _described(
    trt: Any, plan: Any, out: Path, request: BuildRequest, asked: dict[str, Precision]
) -> tuple[tuple[LayerFacts, ...], str]:
    """The layers of a plan, and what went wrong where they cannot be told, "" if nothing did.

    TensorRT's own words stay beside the engine `out`, and a drawing of them. By now the engine is
    whole: whatever goes wrong here must not cost it.
    """
    try:
        text, read = _account(trt, plan, request)
        out.with_name(f"{out.name}.layers.txt").write_text(text, encoding="utf-8")
        kernels = read(text)
        out.with_name(f"{out.name}.dot").write_text(drawing.dot(kernels), encoding="utf-8")
        return tuple(layers.layers(kernels, asked)), ""
    except Exception as error:
        return (), f"its layers are unknown: {type(error).__name__}: {error}"


def _account(
    trt: Any, plan: Any, request: BuildRequest
) -> tuple[str, Callable[[str], list[layers.Kernel]]]:
    """What the inspector says where there is a GPU, else the builder's log; and its reader."""
    log = logger(trt)
    message = log.layers
    if gpu_blocker() is not None:
        return message, layers.from_message
    runtime = trt.Runtime(log)
    if request.tensorrt.version_compatible:
        runtime.engine_host_code_allowed = True
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        return message, layers.from_message
    inspector = engine.create_engine_inspector()
    # Where the batch is open, what a layer is depends on it, and without a context is left out.
    context = engine.create_execution_context()
    if context is not None:
        for own in request.signature.each_input:
            context.set_input_shape(own.input_name, (request.profiles[0][1], *own.input_shape))
        inspector.execution_context = context
    text = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
    return str(text), layers.from_inspector


def _parser_errors(parser: Any) -> str:
    return "; ".join(str(parser.get_error(index)) for index in range(parser.num_errors))
