"""What `convert` measures: parity of every graph with Keras."""

from typing import Annotated, Any

from pydantic import AliasChoices, BeforeValidator, ConfigDict, Field

from stages.results.base import Count, Details, Measured, Share, StageResult
from stages.tasks.registry import Output


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
    """The logits of `name` against those of `against`, and whether they agree well enough.

    Of INT8: the largest difference of a logit that rounding explains, and the labels that changed
    although such a difference could not change them. Of several outputs, the one that is furthest
    off.
    """

    name: str = Field(validation_alias=AliasChoices("name", "rung"))
    against: str
    output: str | None = Field(
        default=None, description="Of a network with several outputs, the one that is told of."
    )
    explained_difference: float | None = None
    unexplained_labels: Count | None = None
    passed: bool = Field(validation_alias=AliasChoices("passed", "holds"))

    @property
    def words(self) -> str:
        """What was compared, with the output that is told of."""
        return self.name if self.output is None else f"{self.name}, output {self.output}"


class LayerParity(Measured):
    """The layer-local test of a graph in one runtime.

    `elements` quantized values were compared. Those off by one step, or by more, are well where the
    exact value lies so close to a tie that rounding may decide; `unexplained` ones are not.
    `worst_point` has the largest share of these.
    """

    name: str = "model.int8.cpu.onnx in ONNX Runtime"
    elements: Count
    off_by_one: Count
    off_by_more: Count
    unexplained: Count = 0
    worst_point: str | None
    passes: bool


class FloatLayer(Measured):
    """A layer that a float16 graph computes in float32, and the largest value in and around it.

    That is of the calibration images, or a weight, and null where it is not finite.
    """

    layer: str
    peak: float | None


class ParityDetails(Details):
    """Parity with Keras, and the first check that did not pass."""

    model_config = ConfigDict(extra="ignore")

    parity_checks: tuple[ParityCheck, ...] = Field(
        default=(), validation_alias=AliasChoices("parity_checks", "ladder")
    )
    first_mismatch: str | None = Field(
        default=None, validation_alias=AliasChoices("first_mismatch", "first_break")
    )


class CarriedImages(Measured):
    """Test images that travel with the graphs: `images` of the `test_samples` in the test split."""

    images: Count
    test_samples: Count
    size_bytes: Count


def _all(found: Any) -> Any:
    """Earlier versions tested one graph only."""
    return found if isinstance(found, (list, tuple)) else () if found is None else (found,)


class ConvertDetails(ParityDetails):
    """Of `convert`."""

    layer_parity: Annotated[tuple[LayerParity, ...], BeforeValidator(_all)] = ()
    float32_layers: dict[str, tuple[FloatLayer, ...]] = Field(
        default_factory=dict, description="By float16 graph, what float16 could not hold."
    )
    output: Output | None = Field(
        default=None, description="What every graph and engine returns per class."
    )
    outputs: dict[str, Output] = Field(
        default_factory=dict, description="The same of several outputs, by name."
    )
    left_out: dict[str, str] = Field(
        default_factory=dict, description="By graph that could not be written, the reason."
    )
    carried: CarriedImages | None = None
    moved_activations: Count | None = Field(
        default=None,
        description="Values that the convolutions and Dense layers read and write for one image.",
    )


class ConvertResult(StageResult):
    """What `convert` returns."""

    details: ConvertDetails = Field(default_factory=ConvertDetails)
