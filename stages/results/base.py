"""What every stage measures: the bottom of all result types."""

from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    model_validator,
)

from stages.tasks.registry import metric

Count = NonNegativeInt
Share = Annotated[float, Field(ge=0, le=1)]
Score = Annotated[float, Field(le=1, allow_inf_nan=False)]
"""What the metric that decides came to. No share: R2 is negative for a network that is worse than
always answering the mean, as one that was just pruned may be, and so may be a metric of a user's.
"""
Amount = NonNegativeFloat
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Measured(BaseModel):
    """Base of all results: immutable; keys that this version does not know are ignored."""

    model_config = ConfigDict(frozen=True, populate_by_name=True, allow_inf_nan=True)


class Quality(Measured):
    """On the test split, from the model's own outputs; shares from 0 to 1.

    Of other tasks than classification: `measures` by the names of stages/tasks/registry.py, of
    which `metric` decides. That is at most 1, and higher is better.
    """

    top1: Share | None = None
    recall_macro: Share | None = None
    precision_macro: Share | None = None
    samples: Count | None = None
    metric: str | None = Field(default=None, description="What decides; top1 where it is null.")
    measures: dict[str, float] | None = None
    outputs: dict[str, "Quality"] | None = Field(
        default=None, description="Of a network with several outputs, by the name of each."
    )

    @property
    def score(self) -> float | None:
        """What decides: top-1 accuracy, or the measure that `metric` names."""
        return self.top1 if self.metric is None else (self.measures or {}).get(self.metric)

    @property
    def is_counted(self) -> bool:
        """Whether the score is a share of the images, so that images can be counted from it."""
        return self.metric is None

    @property
    def words(self) -> str:
        """What the score is called: "accuracy", "ROC AUC"."""
        return "accuracy" if self.metric is None else metric(self.metric).words


P99_SAMPLES = 1000
"""With fewer, fewer than ten calls lie above p99, so that a few outliers decide it."""


class GpuClocks(Measured):
    """A GPU while an engine was timed, from some readings of nvidia-smi.

    Clocks are the lowest and the highest that were read, in MHz; power and temperature the
    highest. throttle_reasons are the different bit masks, as nvidia-smi prints them.
    """

    name: str
    readings: Count
    sm_mhz: tuple[float, float] | None = None
    memory_mhz: tuple[float, float] | None = None
    most_watts: Amount | None = None
    most_celsius: float | None = None
    throttle_reasons: tuple[str, ...] = ()


class LatencyRow(Measured):
    """Time of one call with `batch_size` images."""

    batch_size: Annotated[int, Field(ge=1)]
    runtime: str
    precision: str
    threads: Count
    samples: Count
    p50_ms: Annotated[float, Field(gt=0)]
    p90_ms: Amount
    p99_ms: Amount
    p99_is_indicative: bool | None = Field(
        default=None, description="Whether there were fewer than 1,000 samples."
    )
    mean_ms: Amount
    images_per_second: Amount
    window_p50_ms: tuple[float, ...] | None = Field(
        default=None, description="Median of each window of the measurement, in order."
    )
    p50_low_ms: Amount | None = Field(
        default=None, description="With p50_high_ms, the 95 % interval of p50."
    )
    p50_high_ms: Amount | None = None
    stable: bool | None = Field(
        default=None, description="Whether the median stayed where it was while it was measured."
    )
    parts_ms: dict[str, float] | None = Field(
        default=None,
        description="On a GPU: copies, computation and queueing; resident_ms is a call without "
        "copies.",
    )
    saturated_images_per_second: Amount | None = Field(
        default=None,
        description="With all cores, or the GPU, kept busy by `saturating_engines` engines.",
    )
    saturating_engines: Count | None = None
    saturating_streams: Count | None = Field(
        default=None, description="Batches in flight on the GPU that was kept busy."
    )
    peak_memory_mib: float | None = None
    gpu_memory_mib: float | None = None
    gpu_clocks: tuple[GpuClocks, ...] = Field(
        default=(), description="Of every GPU, while this engine and others on a GPU were timed."
    )

    @property
    def has_indicative_p99(self) -> bool:
        """Whether p99 rests on too few calls; earlier records do not say it themselves."""
        if self.p99_is_indicative is None:
            return self.samples < P99_SAMPLES
        return self.p99_is_indicative


class ModelFacts(Measured):
    """The file that a stage hands on; the store adds `sha256` and `size_bytes`."""

    file: str | None = None
    sha256: Sha256 | None = None
    size_bytes: Count | None = None
    parameters: Count | None = None
    multiply_adds: Count | None = None


class Details(Measured):
    """What only one stage measures. A stage of your own may use this class for any JSON."""

    model_config = ConfigDict(extra="allow")


class StageResult(Measured):
    """What every stage measures of the model that it hands on. Stages add to it by subclassing.

    `notes` are sentences, without a full stop, on how it came about that its reader must know.
    """

    notes: tuple[str, ...] = ()
    model: ModelFacts = Field(default_factory=ModelFacts)
    accuracy: Quality | None = None
    latency: tuple[LatencyRow, ...] = ()
    details: Details = Field(default_factory=Details)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, values: Any) -> Any:
        """null means the same as a key that is left out."""
        if not isinstance(values, dict):
            return values
        return {key: value for key, value in values.items() if value is not None}
