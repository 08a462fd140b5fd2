"""How a network is trained: at first, and after it was pruned or quantized."""

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from stages.settings.base import Count, LearningRate, Positive, Section, Seed, Share

Penalty = Annotated[float, Field(ge=0.0)]

ComputePrecision = Literal["auto", "float32", "bfloat16", "float16"]

DEVICES = re.compile(r"auto|cpu|gpus|workers|(cpu|gpu):\d+(,(cpu|gpu):\d+)*")


class Training(Section):
    """What the first training and the two fine-tunes share."""

    epochs: Count = 1
    """Passes over the training images."""
    batch_size: Positive = 64
    """Images per step, over all devices together."""
    accumulate_batches: Positive = 1
    """Batches whose gradients make one step together: a larger batch than memory holds."""
    learning_rate: LearningRate = 1e-3
    """Peak of the schedule."""
    schedule: Literal["cosine", "constant", "exponential", "step"] = "cosine"
    """How the learning rate falls after its peak: to zero along a cosine, not at all, to a
    hundredth at a constant rate, or to a tenth after half and after three quarters of it."""
    warmup_share: Share = 0.1
    """Share of all steps in which the learning rate rises from zero to its peak."""
    optimizer: Literal["adam", "adamw", "nadam", "sgd", "rmsprop", "adadelta"] = "adam"
    """`sgd` and `adadelta` want learning rates of about 0.1 and 1."""
    momentum: Share = 0.9
    """Of `sgd`; the other optimizers have their own."""
    weight_decay: Penalty | None = None
    """Share of every kernel that a step removes, times the learning rate. Not set: 0.004
    with `adamw`, else 0. Biases, normalisation and INT8 ranges never decay."""
    l1: Penalty = 0.0
    """Added to the loss: this times the sum of the magnitudes of all kernels."""
    l2: Penalty = 0.0
    """Added to the loss: this times the sum of the squares of all kernels."""
    clip_norm: Annotated[float, Field(gt=0.0)] | None = None
    """Gradients, all together as one vector, are shortened to this length."""
    label_smoothing: Share = 0.1
    """Share of the target that goes to all classes alike: keeps logits small, which small sets
    and INT8 ranges both profit from."""
    class_weights: Literal["equal", "balanced"] = "equal"
    """`balanced` makes the images of a rare class count more, so that all classes count alike."""
    patience: Count = 0
    """Stop after this many epochs without a better one on the validation images; 0 never stops.
    Either way the best epoch is kept."""
    devices: str = "auto"
    """`auto` is the first GPU if there is one, else the CPU; `cpu`; `gpus` are all of this host;
    `gpu:0,gpu:1` are just these; `workers` are the hosts that TF_CONFIG names."""
    xla: bool = False
    """Compile the step with XLA: one device only, slow to start, often faster afterwards."""
    deterministic: bool = False
    """Bit-equal weights from the same seed on the same machine, for less speed."""
    seed: Seed = 0
    """Decides the order and the shifts of the images, and dropout masks."""

    @field_validator("devices", mode="before")
    @classmethod
    def _known_devices(cls, value: Any) -> Any:
        is_list = isinstance(value, (list, tuple)) and all(isinstance(each, str) for each in value)
        text = ",".join(value) if is_list else value
        if not isinstance(text, str) or not DEVICES.fullmatch(text):
            # Read after "expected": see pipeline/config.py.
            words = "auto, cpu, gpus, workers, or devices as in gpu:0,gpu:1"
            raise PydanticCustomError("devices", words)
        return text


class Train(Training):
    """The first training."""

    epochs: Count = 24
    """Passes over the training images; 0 with `model.source` takes the model as trained."""
    frozen_epochs: Count = 0
    """Passes before these in which frozen layers do not learn yet: all but the new head with
    `model.freeze_base`, else those that `model.source` has set so. Then all layers learn."""
    frozen_learning_rate: LearningRate | None = None
    """Peak of the schedule in `frozen_epochs`; not set: `learning_rate`, which is best much lower
    once layers that were learned elsewhere learn too."""
    batch_size: Positive = 32
    """Images per step, over all devices together."""
    learning_rate: LearningRate = 2e-3
    """Peak of the schedule."""
    precision: ComputePrecision = "float32"
    """What layers compute in; weights, loss and the saved model stay float32. Worth it on GPUs
    with tensor cores and on CPUs with AMX; `auto` is `bfloat16` on such a CPU, else `float32`."""
    save_h5: bool = False
    """Write the trained model as `model.h5` too, beside `model.keras`."""
    profile: bool = False
    """Write a TensorBoard profile of some steps, beside the learning curves."""
    seed: Seed = 0
    """Decides initial weights, the order and the shifts of the images, and dropout masks."""


class FineTune(Training):
    """What the two fine-tunes share."""

    distillation: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5
    """Share of what is learned that comes from the answers of the model before this stage
    instead of from the labels: they say which wrong classes are nearly right."""
    temperature: Annotated[float, Field(ge=1.0)] = 1.0
    """Logits of both models are divided by this for what is learned from answers: above 1, the
    order of the wrong classes counts for more."""
