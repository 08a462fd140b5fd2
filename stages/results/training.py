"""What `train` measures, and what every stage that trains adds."""

from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field

from stages.results.base import Count, Details, Measured, Share, StageResult


class DatasetCounts(Measured):
    """Images by use. Those counted as rotated were turned as their EXIF says; those counted as
    composited are transparent and were put on black."""

    name: str | None = None
    train_samples: Count | None = None
    validation_samples: Count | None = None
    calibration_samples: Count | None = None
    test_samples: Count | None = None
    skipped_images: Count | None = None
    rotated_images: Count | None = None
    composited_images: Count | None = None


class ClassScore(Measured):
    """One class; 0 / 0 counts as 0."""

    precision: Share
    recall: Share
    f1: Share
    support: Count


class Classification(Measured):
    """Every class, and `confusion[truth][predicted]` in images, empty for very many classes."""

    classes: tuple[str, ...]
    per_class: tuple[ClassScore, ...]
    confusion: tuple[tuple[int, ...], ...] = ()


class Epoch(Measured):
    """One epoch, counted from 1; `round` is that of the pruning that it repaired.

    loss and accuracy are those of the training batches as they were seen, val_loss and
    val_accuracy follow the epoch; learning_rate is that of its last step. seconds,
    images_per_second and step_ms leave out validation; input_wait_share is the share of the
    time in which a step waited for images.
    """

    epoch: Count
    loss: float | None = None
    accuracy: float | None = None
    val_loss: float | None = None
    val_accuracy: float | None = None
    learning_rate: float | None = None
    seconds: float | None = None
    images_per_second: float | None = None
    step_ms: float | None = None
    input_wait_share: float | None = None
    round: int | None = None


class GpuUsage(Measured):
    """How busy one GPU was during a training."""

    gpu: int
    utilisation_percent_mean: float
    memory_mib_max: float
    samples: Count


def _folder_only(value: Any) -> Any:
    """Earlier versions recorded a table of operations here, which TensorBoard shows better."""
    return value if isinstance(value, str) else None


class TrainingDetails(Details):
    """A training; `profile` is the folder of its TensorBoard profile, if one was requested."""

    model_config = ConfigDict(extra="ignore")

    history: tuple[Epoch, ...] = ()
    devices: tuple[str, ...] = ()
    gpus: tuple[GpuUsage, ...] = ()
    precision: str | None = Field(
        default=None, description="What layers computed in while they were trained."
    )
    profile: Annotated[str | None, BeforeValidator(_folder_only)] = None


class TrainDetails(TrainingDetails):
    """Of `train`."""

    classification: Classification | None = None


class TrainResult(StageResult):
    """What `train` returns."""

    details: TrainDetails = Field(default_factory=TrainDetails)
    dataset: DatasetCounts = Field(default_factory=DatasetCounts)
