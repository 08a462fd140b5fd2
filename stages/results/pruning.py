"""What `prune` measures."""

from pydantic import Field

from stages.results.base import Amount, Count, Measured, Quality, Score, Share, StageResult
from stages.results.training import Classification, TrainingDetails


class PruningRound(Measured):
    """One round of pruning and fine-tune; the last one kept is the result.

    `validation_top1` is the score of the metric that decides, whatever the task.
    """

    parameters: Count
    epochs: Count
    accuracy_before_finetune: Quality
    validation_top1: Score
    is_kept: bool


class PrunedGroup(Measured):
    """Layers whose channels can only go together; none are left where all went with a block."""

    layers: tuple[str, ...]
    channels_before: Count
    channels_after: Count


class PruningLatency(Measured):
    """Predicted against measured latency on `target` of a call with `batch_size` images, as shares
    of the trained network's."""

    target: str
    batch_size: Count = 1
    trained_ms: Amount
    predicted_ratio: Amount
    ratio_when_chosen: Amount | None = None
    measured_ratio: Amount


class SensitivityLevel(Measured):
    """The whole network with one group narrowed to `width`, or, where that is 0, without the block
    of these layers; `accuracy_drop` is a share."""

    layers: tuple[str, ...]
    channels: Count
    width: Count
    accuracy_drop: float
    latency_ratio: Amount
    latency_ms: Amount


class GroupWidth(Measured):
    """How many channels a group has left; 0 for a block that is gone."""

    layers: tuple[str, ...]
    channels: Count


class PathPoint(Measured):
    """A network on the way down to a latency."""

    widths: tuple[GroupWidth, ...]
    latency_ratio: Amount
    predicted_ratio: Amount


class SparseLayer(Measured):
    """Whether a layer is wide enough for sparse tensor cores to win."""

    layer: str
    input_channels: Count
    output_channels: Count
    is_wide_enough: bool


class SparseSize(Measured):
    """Zeros in the kernels, and what compression makes of them."""

    zero_share: Share
    weights_bytes: Count
    compressed_bytes_before: Count
    compressed_bytes_after: Count


class PruneDetails(TrainingDetails):
    """Of `prune`.

    `widths` are what a target came to, as `prune.widths` names it. `probed_images` is how many
    training images each level of `sensitivity` was fine-tuned on for an epoch, 0 for none.
    """

    classification: Classification | None = None
    method: str | None = None
    verdict: str | None = None
    accuracy_before_finetune: Quality | None = None
    rounds: tuple[PruningRound, ...] = ()
    groups: tuple[PrunedGroup, ...] = ()
    removed_blocks: tuple[tuple[str, ...], ...] = ()
    parameters_before: Count | None = None
    parameters_after: Count | None = None
    latency: PruningLatency | None = None
    sensitivity: tuple[SensitivityLevel, ...] = ()
    probed_images: Count = 0
    path: tuple[PathPoint, ...] = ()
    widths: dict[str, Count] = Field(default_factory=dict)
    validation_top1_before: Score | None = None
    layers: tuple[SparseLayer, ...] = ()
    size: SparseSize | None = None


class PruneResult(StageResult):
    """What `prune` returns."""

    details: PruneDetails = Field(default_factory=PruneDetails)
