"""What is taken out of the trained network: channels or weights, and bits."""

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from stages.settings.base import Count, LearningRate, Positive, Share, named_engine
from stages.settings.training import ComputePrecision, FineTune, Penalty


class Prune(FineTune):
    """What is taken out of the trained network, and the fine-tune that repairs it."""

    method: Literal["channels", "2:4", "magnitude"] = "channels"
    """`channels` makes layers smaller, which every engine turns into speed; `2:4` zeroes two of
    four weights for TensorRT's sparse kernels; `magnitude` zeroes single weights or blocks,
    which makes the file smaller once it is compressed, and no engine faster."""
    ratio: Share = 0.5
    """Share to remove: of the channels of every group of `layers` that can lose some, or of the
    weights with `magnitude`; 0 leaves the model unpruned, whatever the method. `2:4` removes half
    at any other ratio, and with a target below the stage itself decides how much goes where."""
    layers: Literal["convolutions", "all"] = "convolutions"
    """What loses channels by the ratio: `convolutions`, and Dense layers at every position of an
    image, which are 1x1 convolutions; or `all`, so also Dense layers on one vector per image:
    they hold many of the weights, but take little of the time."""
    criterion: Literal["l1", "l2", "bn_scale", "taylor"] = "l2"
    """What makes a channel matter: norms of its kernel, its scale in batch normalisation, or
    what the loss would change without it (first-order Taylor, on training images)."""
    channel_multiple: Positive = 8
    """Layers keep a multiple of this many channels: the kernels of engines compute 8 or 16 at
    once, and one channel more costs as much as a whole block. Rounded up, never to 0."""
    exclude_layers: tuple[str, ...] = ()
    """Names of layers that are not pruned."""
    widths: dict[str, Count] = Field(default_factory=dict)
    """In place of a ratio or a target: channels that layers keep, by name, as in
    `{block1_a_conv = 0, stem_conv = 8}`. 0 removes the block of the layer; layers that must have
    as many channels as another follow it; the others keep all."""
    target_latency_ratio: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    """Latency to reach on the engine `target`, as a share of the trained model's."""
    max_accuracy_drop: Annotated[float, Field(ge=0.0)] | None = None
    """Prune as far as the accuracy on the validation images falls by at most this many
    percentage points after the fine-tune; together with `target_latency_ratio` both must hold."""
    target: Annotated[str, named_engine()] = "onnxruntime.fp32"
    """The engine whose latency is measured for the two settings above: `<backend>.<precision>`.
    What makes one engine faster may not help another."""
    target_batch_size: Positive = 1
    """Images in each call that is timed on `target`. What makes single images faster may not help
    many at once."""
    depth: bool = True
    """With a target: whole blocks may go besides channels, residual ones and layers that repeat a
    shape, where that costs less accuracy for the time that it saves."""
    scope: Literal["layer", "global"] = "layer"
    """What of the whole network goes. With `channels` and a ratio: that share of every group, or as
    many multiply-adds, taken where channels matter least for those that they save; that wants
    `criterion` to be `taylor`. With `magnitude`: that share of every layer, or the smallest weights
    of all layers."""
    block: tuple[Positive, Positive] = (1, 1)
    """With `magnitude`: input by output channels that are zeroed together."""
    rounds: Positive = 1
    """Rounds of pruning a little and fine-tuning."""
    round_epochs: Count = 2
    """Epochs of the fine-tune after every round but the last."""
    epochs: Count = 12
    """Epochs of the last fine-tune, which repairs what pruning broke."""
    batch_size: Positive = 32
    """Images per step."""
    learning_rate: LearningRate = 2e-3
    """Peak of Adam's cosine schedule."""
    precision: ComputePrecision = "float32"
    """What layers compute in during the fine-tune, as `train.precision`."""
    map_distillation: Penalty = 0.0
    """Weight in the loss of how far the attention maps are from those of the unpruned model, sums
    of squares over the channels at the end of each stage: 0 learns from its answers alone."""

    @property
    def timed(self) -> str:
        """What a target is about: "litert.int8", or "litert.int8 with 32 images a call"."""
        images = f" with {self.target_batch_size} images a call"
        return self.target + (images if self.target_batch_size > 1 else "")

    @field_validator("widths")
    @classmethod
    def _is_of_channels(cls, value: dict[str, int], info: ValidationInfo) -> dict[str, int]:
        method = info.data.get("method")
        if value and method in ("2:4", "magnitude"):
            # Read after "expected": see pipeline/config.py.
            raise PydanticCustomError("of_channels", f"none, for prune.method is {method!r}")
        return value

    @field_validator("rounds")
    @classmethod
    def _is_one_with_widths(cls, value: int, info: ValidationInfo) -> int:
        if value > 1 and info.data.get("widths"):
            raise PydanticCustomError("one_round", "1, for prune.widths is reached in one round")
        return value

    @field_validator("target_latency_ratio", "max_accuracy_drop")
    @classmethod
    def _needs_channels(cls, value: float | None, info: ValidationInfo) -> float | None:
        method = info.data.get("method")
        if value is not None and method in ("2:4", "magnitude"):
            # Read after "expected": see pipeline/config.py.
            raise PydanticCustomError("needs_channels", f"none, for prune.method is {method!r}")
        if value is not None and info.data.get("widths"):
            raise PydanticCustomError("no_widths", "none, for prune.widths says what is left")
        return value


class Quantize(FineTune):
    """INT8 calibration and quantization-aware training."""

    calibration: Literal["auto", "max", "percentile", "entropy", "mse"] = "auto"
    """How ranges are found. `max` covers every value seen; the others clip: the rarest values
    (`percentile`), what costs least information (`entropy`) or least squared error (`mse`).
    `auto` chooses for each tensor the one that changes the outputs least on the calibration
    images, unless one for all tensors is more accurate on the validation images."""
    percentile: Annotated[float, Field(gt=50.0, le=100.0)] = 99.99
    """Share of values, in percent, that the range covers with `percentile`."""
    epochs: Count = 10
    """Epochs of the quantization-aware fine-tune; 0 keeps the calibrated model, with its biases
    corrected unless that is worse on the validation images."""
    learning_rate: LearningRate = 1e-4
    """Peak of Adam's cosine schedule: weights only have to settle on the INT8 grid."""
    exclude_layers: tuple[str, ...] = ()
    """Names of layers that are not quantized; `first` and `last` are the first and the last
    convolution or Dense layer."""
    max_accuracy_drop: Annotated[float, Field(ge=0.0)] | None = None
    """Accuracy that INT8 may lose on the validation images, in percentage points against the
    float model. If it loses more, as few layers as possible, those that cost most, are left in
    float; if that does not help either, the run ends with exit code 3."""
