"""What `init`, `compare-devices` and `doctor` find: no stage, so that no record holds it.

Not in the modules of the stages: every command that reads a record makes all of their types.
"""

from stages.results.base import Count, Measured, StageResult
from stages.results.training import DatasetCounts
from stages.tasks.registry import Output, TaskName


class DeviceSpeed(Measured):
    """How fast one device trains, and that many times the CPU."""

    device: str
    images_per_second: float
    step_ms: float
    times_cpu: float


class DeviceComparison(StageResult):
    """What `compare-devices` returns."""

    rows: tuple[DeviceSpeed, ...] = ()


class FoundInput(Measured):
    """One of several inputs, as the data have it."""

    name: str
    shape: tuple[int, ...]
    dtype: str


class FoundOutput(Measured):
    """One of several outputs, and what it is asked."""

    name: str
    task: TaskName
    classes: tuple[str, ...]
    output: Output


class Findings(StageResult):
    """What `init` finds: the data set, and the model with the settings that suit both.

    `input_shape` is that of the only input; several are `inputs`. `hits` of `samples` validation
    images are right with `scale` and `offset`, or the metric of the `task` is `score` on them; not
    set without a model of the user's. `is_trained` says whether that is more than luck explains.
    """

    input_shape: tuple[int, ...]
    inputs: tuple[FoundInput, ...] = ()
    classes: tuple[str, ...]
    dataset: DatasetCounts
    network: str
    parameters: Count
    output: Output
    own_scaling: tuple[str, ...] = ()
    image_size: Count = 0
    calibration_samples: Count
    scale: float
    offset: float
    task: TaskName = "classification"
    outputs: tuple[FoundOutput, ...] = ()
    metric: str | None = None
    hits: Count | None = None
    score: float | None = None
    samples: Count | None = None
    is_trained: bool = False


class TensorFlowFacts(Measured):
    """What TensorFlow sees: names of GPUs, and the versions of NVIDIA's libraries that it loads."""

    gpus: tuple[str, ...] = ()
    loaded_cuda: str | None = None
    loaded_cudnn: str | None = None
