"""What `convert` measures: parity of every graph with Keras."""

from __future__ import annotations

from pydantic import AliasChoices, ConfigDict, Field

from stages.results.base import Count, Details, Measured, Output, Share, StageResult


class LogitDifference(Measured):
    """How far apart the logits of two models for the same images are.

    top1_agreement is the share of images with the same largest logit, max_relative_difference
    the largest difference as a share of the largest reference logit.
    """

    samples: Count
    top1_agreement: Share
    max_absolute_difference: float | None
    mean_absolute_difference: float | None
    max_relative_difference: float | None = None


class ParityCheck(LogitDifference):
    """The logits of `name` against those of `against`, and whether they agree well enough."""

    name: str = Field(validation_alias=AliasChoices("name", "rung"))
    against: str
    passed: bool = Field(validation_alias=AliasChoices("passed", "holds"))


class LayerParity(Measured):
    """The layer-local test: quantized values that are off by one step, and by more."""

    elements: Count
    off_by_one: Count
    off_by_more: Count
    worst_point: str | None
    passes: bool


class ParityDetails(Details):
    """Parity with Keras, and the first check that did not pass."""

    model_config = ConfigDict(extra="ignore")

    parity_checks: tuple[ParityCheck, ...] = Field(
        default=(), validation_alias=AliasChoices("parity_checks", "ladder")
    )
    first_mismatch: str | None = Field(
        default=None, validation_alias=AliasChoices("first_mismatch", "first_break")
    )


class ConvertDetails(ParityDetails):
    """Of `convert`."""

    layer_parity: LayerParity | None = None
    output: Output | None = Field(
        default=None, description="What every graph and engine returns per class."
    )


class ConvertResult(StageResult):
    """What `convert` returns."""

    details: ConvertDetails = Field(default_factory=ConvertDetails)
