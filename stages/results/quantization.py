"""What `quantize` measures."""

from typing import Any, Literal

from pydantic import AliasChoices, Field, model_validator

from stages.results.base import Amount, Count, Measured, Score, Sha256, Share, StageResult
from stages.results.training import Classification, TrainingDetails


class CalibrationFacts(Measured):
    """The method of every tensor, and the validation accuracy of all that was tried.

    `method` is the one that all have, or "per tensor".
    """

    method: str
    methods: dict[str, str] = Field(default_factory=dict)
    validation_top1: dict[str, Score]
    samples: Count
    images_sha256: Sha256 | None = None


class BiasCorrection(Measured):
    """The INT8 model before and after its biases were corrected, and what was added to them."""

    is_kept: bool
    validation_top1_before: Score
    validation_top1_after: Score
    largest_shift: dict[str, Amount]


class RangeFacts(Measured):
    """low <= x <= high for the values of one tensor."""

    low: float
    high: float
    saturated_share: Share = 0.0

    @model_validator(mode="before")
    @classmethod
    def _from_magnitude(cls, values: Any) -> Any:
        """Earlier records have the largest magnitude, and whether a tensor has both signs."""
        if isinstance(values, dict) and "amax" in values:
            amax, signed = values["amax"], values.get("signed")
            return {**values, "low": -amax if signed else 0.0, "high": amax}
        return values


class Saturation(Measured):
    """What the final range of a tensor can represent, and what of the images lay outside."""

    low: float
    high: float
    samples_clipped_share: Share


class FloatCandidate(Measured):
    """What leaving one tensor in float brings and costs; `is_float` if that was done."""

    point: str
    layers: tuple[str, ...]
    accuracy_gain: float
    loss_gain: float
    latency_share: float
    is_float: bool = Field(validation_alias=AliasChoices("is_float", "float"))


class FineTuneChoice(TrainingDetails):
    """The fine-tune, and whether the model after it or the calibrated one is kept."""

    kept: Literal["trained", "calibrated"] | None = None
    calibrated_validation_top1: Score | None = None
    trained_validation_top1: Score | None = None


class FloatFallback(Measured):
    """What is left in float, and why."""

    float_validation_top1: Score | None = None
    float_points: tuple[str, ...] = ()
    float_layers: tuple[str, ...] = ()
    sensitivity: tuple[FloatCandidate, ...] = ()


class QuantizeDetails(FineTuneChoice, FloatFallback):
    """Of `quantize`."""

    classification: Classification | None = None
    calibration: CalibrationFacts | None = None
    bias_correction: BiasCorrection | None = None
    ranges: dict[str, RangeFacts] = Field(default_factory=dict)
    saturation: dict[str, Saturation] = Field(default_factory=dict)


class QuantizeResult(StageResult):
    """What `quantize` returns."""

    details: QuantizeDetails = Field(default_factory=QuantizeDetails)
