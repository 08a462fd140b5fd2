"""Conversion, engines, their benchmark and quality gates."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from stages.engines.registry import ENGINES, ExtraPrecision, Precision
from stages.settings.base import Backend, Count, Distinct, FilePath, Positive, Seconds, Section

Threads = Annotated[int, Field(ge=1, le=1024)]
Wait = Literal["auto", "spin", "block"]
Placement = Literal["copied", "mapped"]
ComputeCapability = Literal["7.5", "8.0", "8.6", "8.9", "12.0", "12.1"]


class Convert(Section):
    """Keras to ONNX and LiteRT."""

    input: Literal["auto", "uint8", "float32"] = "auto"
    """Input of the engines: raw pixels, or normalised values (value * data.scale + data.offset).
    With pixels the engine normalises, mostly at no cost. `auto` is pixels where the data are."""
    batch_size: Count = 0
    """The fixed batch size of engines; 0 leaves it open."""

    parity_samples: Positive = 256
    """Test images on which the converted graphs are compared with Keras, of each class in
    proportion to its size; fewer where their outputs take more than 128 MiB, as masks do."""
    carried_images: Count = 1000
    """Test images to put beside the graphs, of each class in proportion to its size: with them
    another machine can run `build` and `benchmark` without the data set. 0 takes all of them."""
    max_relative_difference: Annotated[float, Field(gt=0.0)] = 1e-4
    """Largest difference of float32 outputs that passes, relative to the largest output."""
    extra_precisions: Annotated[tuple[ExtraPrecision, ...], Distinct] = ()
    """Graphs to write for TensorRT besides those of FP16 and INT8, where the GPU has the
    arithmetic: `bf16` from compute capability 8.0 on (Ampere), `fp8` from 8.9 on (Ada, Hopper).
    `build.precisions` must name them too."""
    opset: Annotated[int, Field(ge=13, le=18)] = 17
    """ONNX opset of the graphs with a float32 rest. 17 is the newest that TensorRT 8.6 parses,
    and at 18 ONNX Runtime loses its INT8 average pool; float16 graphs always have 19."""


class Build(Section):
    """Engines for this machine."""

    backends: Annotated[tuple[Backend, ...], Distinct] = tuple(
        name for name, engine in ENGINES.items() if engine.is_default
    )
    """Engines to build; one that this machine cannot build is recorded with the reason."""
    precisions: Annotated[tuple[Precision, ...], Distinct] = ("fp32", "fp16", "int8")
    """Precisions to build, where the engine has them."""
    max_batch_size: Positive = 64
    """Largest batch of TensorRT's engines, which run all up to it."""
    workspace_mib: Positive = 1024
    """GPU memory that TensorRT may use while it tries tactics, in MiB."""
    batch_sizes: Annotated[tuple[Positive, ...], Distinct, Field(min_length=1)] = (1, 32)
    """Batch sizes for each of which the fastest engine is chosen, and TensorRT chooses its kernels;
    the engine of the run is that of the first."""
    threads: Annotated[tuple[Threads, ...], Distinct, Field(min_length=1)] = (1, 2)
    """CPU threads per engine to try; numbers above that of the cores are left out."""
    max_accuracy_drop: Annotated[float, Field(ge=0.0)] = 0.5
    """Largest accuracy loss of the chosen engine against the trained model, on validation images,
    in percentage points; one image may always be lost. Where pruning lost more, the engine is
    chosen that loses no more than this against the most accurate one, and the run says so."""
    max_seconds_per_engine: Seconds = 0.4
    """Longest timing per engine, batch size and thread count, in seconds; the benchmark stage
    measures at length."""


class TensorRT(Section):
    """How TensorRT and TensorRT-RTX build engines."""

    optimization_level: Annotated[int, Field(ge=0, le=5)] = 3
    """How long the builder looks for faster kernels: 5 takes many times as long as 3, TensorRT's
    own default, and finds little more."""
    timing_cache: FilePath | None = None
    """A copy of `tensorrt.timing` of an earlier build on this GPU: what was timed then is not
    timed again, and the same kernels are chosen."""
    tf32: bool = False
    """Let float32 matrix products use TF32, with 10 bits of mantissa, as TensorRT does by default:
    faster since Ampere, and up to 5e-4 of the largest output away from float32: such engines may
    differ from Keras by 1e-3 of it."""
    version_compatible: bool = False
    """Let later versions of TensorRT open the engine, which grows and may become slower."""
    hardware_compatibility: Literal["none", "ampere_plus", "same_compute_capability"] = "none"
    """GPUs besides its own kind that may open an engine of TensorRT: all since Ampere, at some loss
    of speed, or those of the same compute capability, at less. What was measured on one says
    nothing of another: on another GPU `build` and `benchmark` are stale all the same."""
    refittable: bool = False
    """Let weights be replaced later; TensorRT then folds nothing that depends on them."""
    weight_stripped: bool = False
    """Leave the weights out of plans: they are read from the graph beside the plan when it is
    opened, which takes longer. For many plans of one network; from TensorRT 10 on."""
    locate_divergence: bool = True
    """Where an engine does not agree with Keras, find the first tensor that is off, by building
    parts of its graph: as many builds as its nodes have binary digits, at most a quarter of an
    hour. Not for BF16, which has no reference on a CPU."""
    compute_capabilities: tuple[ComputeCapability, ...] = ()
    """GPUs that TensorRT-RTX builds for, as in "8.9"; empty means its own default, kernels for 8.0,
    8.6, 8.9 and 12.0. TensorRT-RTX 1.7 has no name for Hopper (9.0) and data-centre Blackwell
    (10.0), nor has NVIDIA's list of the GPUs that it supports."""

    def external_files(self) -> list[Path]:
        """The timing cache."""
        return [] if self.timing_cache is None else [self.timing_cache]


class Gpu(Section):
    """How engines on a GPU are fed and waited for, while they are chosen and measured."""

    wait: Wait = "auto"
    """What the CPU does until a call is done. `spin` asks again and again, which is soonest and
    takes a core (`trtexec --useSpinWait`); `block` sleeps until the GPU interrupts it, which is
    later and leaves the core to others; `auto` leaves it to CUDA, which spins unless there are more
    contexts than cores."""
    input: Placement = "copied"
    """`copied` copies every batch to the GPU's memory; `mapped` lets kernels read it from
    page-locked memory of the host: one operation fewer, which may pay for small images and on
    chips that share their memory (Jetson), and a first layer that reads through the bus."""
    streams: Annotated[int, Field(ge=1, le=64)] = 2
    """Batches in flight while throughput is measured (`trtexec --infStreams`), each with a context
    and buffers of its own on the GPU: 2 copy behind the computation, more fill a GPU that small
    kernels leave idle."""


class Benchmark(Section):
    """Latency and accuracy of the engines themselves."""

    images: Literal["auto", "test", "carried"] = "auto"
    """Images that accuracy is measured on: the whole `test` split of the data set, or those that
    `convert` put beside its graphs, `carried`, which need no data set. `auto` is `carried` on a
    machine that got only what `convert` or `build` made, else `test`."""

    batch_sizes: Annotated[tuple[Positive, ...], Distinct, Field(min_length=1)] = (1, 32)
    """Images per call."""
    threads: Annotated[tuple[Threads, ...], Distinct, Field(min_length=1)] = (1,)
    """CPU threads per engine; at batch 1 a small net is fastest with one."""
    warmup_seconds: Seconds = 0.2
    """How long each engine runs before anything is timed: caches fill, clocks rise."""
    max_seconds_per_engine: Seconds = 1.5
    """Longest timing per engine, batch size and thread count, in seconds. It ends earlier when the
    medians of all engines are certain; those that are not by then are marked UNSTABLE."""


class Gates(Section):
    """What the engine that the run stands for must satisfy: the one that build chose, else the
    fastest. A run that misses a gate ends with exit code 3, after its reports are written."""

    max_accuracy_drop: Annotated[float, Field(ge=0.0)] | None = None
    """Largest loss of top-1 accuracy against the trained model, in percentage points."""
    max_p50_ms: Annotated[float, Field(gt=0.0)] | None = None
    """Longest median latency at the smallest batch of the benchmark, in milliseconds."""
    max_size_mb: Annotated[float, Field(gt=0.0)] | None = None
    """Largest engine file, in megabytes (1 MB is 1,000,000 bytes)."""
    parity: bool = False
    """Whether a graph or engine that does not compute what the Keras model computes misses a gate;
    without it the verdict says so and the exit code stays 0."""


class Report(Section):
    """Where results go besides the artifact folder."""

    mlflow: Annotated[str, Field(min_length=1)] | None = None
    """Address of an MLflow tracking server, or `file:` and a folder: each run that did something
    is logged there, with settings, metrics and report files. Needs the extra `mlflow`."""
