"""What `build` and `benchmark` measure of the engines."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, ConfigDict, Field

from stages.engines.registry import EngineName
from stages.errors import EngineError
from stages.results.base import (
    Amount,
    Count,
    Details,
    LatencyRow,
    Measured,
    Quality,
    StageResult,
)
from stages.results.conversion import ParityCheck, ParityDetails
from stages.results.training import Classification

EngineState = Literal["ran", "built_not_run", "unavailable"]


class EngineTimings(Measured):
    """What the benchmark measured of one engine, the baseline included."""

    accuracy: Quality | None = None
    latency: tuple[LatencyRow, ...] = ()
    load_ms: Amount | None = None
    first_call_ms: Amount | None = None


class EngineRecord(Measured):
    """One engine of one precision."""

    backend: str
    precision: str
    file: str | None = None
    state: EngineState = "unavailable"
    reason: str | None = Field(default=None, description="Why it did not run.")
    fix: str | None = Field(default=None, description="The command that changes that.")

    @property
    def name(self) -> EngineName:
        """As in "litert.int8"."""
        return EngineName(self.backend, self.precision)

    def built(self, file: Path) -> "EngineRecord":
        """The same with its engine file."""
        return self.model_copy(update={"file": file.name, "state": "built_not_run"})

    def ran(self) -> "EngineRecord":
        """The same after it has run here."""
        return self.model_copy(update={"state": "ran", "reason": None, "fix": None})

    def stopped(self, error: EngineError) -> "EngineRecord":
        """The same with the reason why it did not run."""
        state = "built_not_run" if self.file else "unavailable"
        changes = {"state": state, "reason": error.message, "fix": error.hint or None}
        return self.model_copy(update=changes)


class EngineResult(EngineTimings, EngineRecord):
    """An engine with what was measured of it."""

    parity: ParityCheck | None = None


class Candidate(Measured):
    """An engine timed briefly by build at one batch size and thread count."""

    engine: str
    batch_size: Annotated[int, Field(ge=1)]
    threads: Count
    p50_ms: Amount
    window_p50_ms: tuple[float, ...] = ()
    p50_low_ms: Amount | None = None
    p50_high_ms: Amount | None = None
    stable: bool = True
    top1: float | None = None
    within_budget: bool | None = None


class Chosen(Measured):
    """The engine and the threads that are fastest at one batch size, within the budget."""

    engine: str
    threads: Count
    stable: bool
    within_budget: bool


class PredictionDiff(Measured):
    """How many images `engine` answers differently from the trained model.

    lost ones were right before, won ones are right after, the others wrong both times; where
    answers are numbers or masks, lost ones are clearly worse and won ones clearly better.
    """

    engine: str
    lost: Count
    won: Count
    other: Count
    change_low: float | None = Field(
        default=None,
        description="With change_high, the 95 % interval of what the metric gained, where counts "
        "do not give it.",
    )
    change_high: float | None = None


class ShownImages(Measured):
    """The test images that a report shows beside answers."""

    input: str | None = Field(default=None, description="Of several inputs the one that is shown.")
    reason: str | None = Field(default=None, description="Why none are kept.")


class EngineChoice(Measured):
    """What build timed to choose an engine; `chosen` by batch size.

    Accuracies, which are the metric that decides in other tasks than classification, and
    differences from the trained model are those on validation images. Earlier
    versions lack the trained model's: their budget was against the float32 engine of the same
    network.
    """

    batch_sizes: tuple[int, ...] = ()
    max_accuracy_drop: float | None = None
    validation_samples: Count | None = None
    metric: str | None = Field(default=None, description="As in Quality: top1 where it is null.")
    trained_top1: float | None = None
    differences: tuple[PredictionDiff, ...] = ()
    table: tuple[Candidate, ...] = ()
    chosen: dict[int, Chosen] = Field(default_factory=dict)


class IntegerKernels(Measured):
    """Convolutions and matrix products by what they compute in."""

    integer: Count
    floating: Count = Field(validation_alias=AliasChoices("floating", "float"))


class LayerFacts(Measured):
    """A kernel of an engine, and the ONNX nodes whose work it does.

    requested is None where no precision was, executed is in the runtime's words where it is none of
    ours, written is the type of what it writes where the runtime tells, tactic is the kernel's
    implementation where the runtime names it, reason is why it is in float, where an INT8 engine
    has it so on purpose.
    """

    name: str
    nodes: tuple[str, ...] = ()
    kind: str | None = None
    requested: str | None = None
    executed: str | None = None
    written: str | None = None
    tactic: str | None = None
    reason: str | None = None


class PrecisionMismatch(Measured):
    """A node that runs in more bits than were requested."""

    node: str
    layer: str
    requested: str
    executed: str


class SlowerNode(Measured):
    """A node that takes longer in INT8 than in FP16."""

    node: str
    int8_ms: Amount
    fp16_ms: Amount


class Int8Regression(Measured):
    """A runtime whose INT8 engine is slower than its FP16 one."""

    backend: str
    int8_ms: Amount
    fp16_ms: Amount
    layers: tuple[SlowerNode, ...] = ()


class Divergence(Measured):
    """The first tensor of an engine that is off from its graph, and the node that makes it.

    The difference is a share of the tensor's largest value, null where it is not finite. `builds`
    parts of the graph were built to find it.
    """

    tensor: str
    node: str
    max_relative_difference: float | None
    builds: Count

    @property
    def in_words(self) -> str:
        """For progress and reports, without a full stop."""
        far = self.max_relative_difference
        by = "not a finite number" if far is None else f"off by {far:.2g} of its largest value"
        return f"the first tensor that is off is that of {self.node} ({self.tensor}), {by}"


class BuildDetails(ParityDetails):
    """Of `build`; layers, kernels, mismatches, remarks and divergences by engine.

    kernels has the engines that tell of all that one call starts, not of matrix kernels alone.
    """

    choice: EngineChoice | None = Field(
        default=None, validation_alias=AliasChoices("choice", "auto")
    )
    onnxruntime_int8_kernels: IntegerKernels | None = None
    layers: dict[str, tuple[LayerFacts, ...]] = Field(default_factory=dict)
    kernels: dict[str, Count] = Field(default_factory=dict)
    precision_mismatches: dict[str, tuple[PrecisionMismatch, ...]] = Field(default_factory=dict)
    remarks: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    divergences: dict[str, Divergence] = Field(default_factory=dict)
    int8_slower_than_fp16: tuple[Int8Regression, ...] = ()


class BuildResult(StageResult):
    """What `build` returns."""

    details: BuildDetails = Field(default_factory=BuildDetails)
    engines: tuple[EngineResult, ...] = ()


class MachineState(Measured):
    """What the machine was doing while the engines were timed."""

    cpu: str | None = None
    cpu_flags: tuple[str, ...] | None = None
    packages: dict[str, str] = Field(default_factory=dict)
    load_average_before: float | None = None
    load_average_after: float | None = None
    cpu_steal_percent: float | None = None
    governor: str | None = None
    clock_overhead_ms: float | None = None
    warmup_seconds: float | None = None
    seconds: float | None = None
    windows: tuple[int, ...] | None = None
    gpu: dict[str, Any] | None = None
    gpu_wait: str | None = None
    gpu_input: str | None = None


class Peak(Measured):
    """Most multiply-adds per second that a large convolution reached in `kernel`, a runtime.

    `engines` are those that compute with the same instructions: it is their peak.
    """

    precision: str
    threads: Count
    kernel: str
    has_amx: bool
    multiply_adds_per_second: Annotated[float, Field(gt=0)]
    engines: tuple[str, ...]


class Bandwidth(Measured):
    """Most bytes per second that copies moved, read and written, among `moved_bytes` in all.

    All threads together, by one clock; a thread count above the cores has none. Those of a GPU are
    within its own memory, and threads mean nothing to it.
    """

    device: Literal["cpu", "gpu"] = "cpu"
    threads: Count
    moved_bytes: Count
    bytes_per_second: Annotated[float, Field(gt=0)]


class OutputDetails(Details):
    """The answers of one output; `classification` by engine, "baseline" among them.

    changed is about the engine that the run stands for.
    """

    model_config = ConfigDict(extra="ignore")

    classification: dict[str, Classification] = Field(default_factory=dict)
    changed: PredictionDiff | None = None
    shown: ShownImages | None = Field(
        default=None, description="null: where answers are neither classes nor masks."
    )


class BenchmarkDetails(OutputDetails):
    """Of `benchmark`, with the answers of the only output.

    Of several `outputs` has the answers of each, by its name, without raw ones; `changed` is then
    about those of all together. differences are about every engine that ran.
    """

    fastest: str | None = None
    images: Literal["test", "carried"] | None = Field(
        default=None, description="The whole test split, or the part that convert carried."
    )
    baseline: EngineTimings | None = None
    knows_more_than_luck: bool | None = Field(
        default=None, description="Whether the trained model does, on the test images."
    )
    differences: tuple[PredictionDiff, ...] = ()
    outputs: dict[str, OutputDetails] = Field(default_factory=dict)
    conditions: MachineState | None = None
    peaks: tuple[Peak, ...] = Field(
        default=(), description="Of this CPU, with the threads that the engines were timed with."
    )
    bandwidths: tuple[Bandwidth, ...] = ()


class BenchmarkResult(StageResult):
    """What `benchmark` returns."""

    details: BenchmarkDetails = Field(default_factory=BenchmarkDetails)
    engines: tuple[EngineResult, ...] = ()
