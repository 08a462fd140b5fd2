"""Every knob of the line: one frozen section per stage, each knob with its unit and its reason.

A stage sees only what its own class at the end of this file holds, and exactly that
is hashed into its key: a knob that a stage cannot see cannot make its artifact stale.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0.0)]
LearningRate = Annotated[float, Field(gt=0.0, le=1.0)]
Precision = Literal["fp32", "fp16", "int8"]
Backend = Literal["onnxruntime", "litert", "tensorrt", "tensorrt_rtx"]
TARGET_PATTERN = rf"^({'|'.join(get_args(Backend))})\.({'|'.join(get_args(Precision))})$"
"""An engine in one word, as in "litert.int8"."""


class Section(BaseModel):
    """Base of all sections: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    def external_files(self) -> list[Path]:
        """Files and folders outside the artifact folder that a stage with this section reads."""
        return []


class Data(Section):
    """The images and labels, and how they are divided."""

    name: Literal["digits", "mnist", "folder", "npz"] = "digits"
    """`digits` ships with scikit-learn and needs no network; the others read `path`."""
    path: str | None = None
    """An `.npz` in the layout of keras.datasets.mnist (`mnist`, `npz`), or a folder with
    `train/<class>/*` and `test/<class>/*` (`folder`)."""
    test_samples: Count = 0
    """Test images to use, of each class in proportion to its size; 0 takes all of them."""
    validation_share: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.1
    """Share of the training images held back to choose the best weights."""
    calibration_samples: Positive = 128
    """Training images held back to calibrate INT8 ranges; they are never trained on, so
    the ranges are those of unseen images."""
    image_size: Count = 0
    """Height and width in pixels that `folder` resizes to; 0 keeps the first image's size."""
    scale: float = 1 / 255
    """The model sees pixel * scale + offset."""
    offset: float = 0.0
    """See `scale`."""
    shift_pixels: Count = 1
    """In all trainings images are moved by up to so many pixels each way: small sets need it."""
    seed: Count = 0
    """Decides which images are held back."""

    def external_files(self) -> list[Path]:
        """The data set's own file or folder."""
        return [Path(self.path)] if self.path else []


class Model(Section):
    """Which network is trained."""

    name: str = "mnist_cnn"
    """A name in the table of stages/models."""
    source: str | None = None
    """The user's own model instead: a `.keras` or `.h5` file, or `module:function` that
    returns an untrained or trained Keras model."""

    def external_files(self) -> list[Path]:
        """The model's file, or the source file of its `module:function`."""
        if self.source is None:
            return []
        if ":" not in self.source:
            return [Path(self.source)]
        try:
            spec = importlib.util.find_spec(self.source.split(":")[0])
        except (ImportError, ValueError):
            return []
        return [Path(spec.origin)] if spec and spec.origin else []


class Training(Section):
    """What the first training and the two fine-tunes share."""

    epochs: Count = 1
    """Passes over the training images."""
    batch_size: Positive = 64
    """Images per step."""
    learning_rate: LearningRate = 1e-3
    """Peak of Adam's cosine schedule."""
    seed: Count = 0
    """Decides the order and the shifts of the images, and dropout masks."""


class Train(Training):
    """The first training."""

    epochs: Count = 24
    """Passes over the training images; 0 with `model.source` takes the model as trained."""
    batch_size: Positive = 32
    """Images per step."""
    learning_rate: LearningRate = 2e-3
    """Peak of Adam's cosine schedule."""
    seed: Count = 0
    """Decides initial weights, the order and the shifts of the images, and dropout masks."""


class FineTune(Training):
    """What the two fine-tunes share."""

    distillation: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5
    """Share of what is learned that comes from the answers of the model before this stage
    instead of from the labels: they say which wrong classes are nearly right."""


class Prune(FineTune):
    """What is taken out of the trained network, and the fine-tune that repairs it."""

    method: Literal["channels", "2:4", "magnitude"] = "channels"
    """`channels` makes layers smaller, which every engine turns into speed; `2:4` zeroes two of
    four weights for TensorRT's sparse kernels; `magnitude` zeroes single weights or blocks,
    which makes the file smaller once it is compressed, and no engine faster."""
    ratio: Share = 0.5
    """Share to remove: of the channels of every group of layers that can lose some, or of the
    weights with `magnitude`; 0 leaves the model as it is. `2:4` always removes half, and with
    a target below the stage itself decides how much goes where."""
    criterion: Literal["l1", "l2", "bn_scale", "taylor"] = "l2"
    """What makes a channel matter: norms of its kernel, its scale in batch normalisation, or
    what the loss would change without it (first-order Taylor, on training images)."""
    round_to: Positive = 8
    """Layers keep a multiple of so many channels: the kernels of engines compute 8 or 16 at
    once, and one channel more costs as much as a whole block. Rounded up, never to 0."""
    keep: tuple[str, ...] = ()
    """Names of layers that lose nothing."""
    target_latency_ratio: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    """Latency to reach on the engine `target`, as a share of the trained model's."""
    max_accuracy_drop: Annotated[float, Field(ge=0.0)] | None = None
    """Prune as far as the accuracy on the validation images falls by at most so many
    percentage points after the fine-tune; together with `target_latency_ratio` both must hold."""
    target: Annotated[str, Field(pattern=TARGET_PATTERN)] = "onnxruntime.fp32"
    """The engine whose latency at batch 1 is measured for the two settings above:
    `<backend>.<precision>`. What makes one engine faster may not help another."""
    scope: Literal["layer", "global"] = "layer"
    """With `magnitude`: the same share from every layer, or the smallest of all layers."""
    block: tuple[Positive, Positive] = (1, 1)
    """With `magnitude`: input by output channels that are zeroed together."""
    rounds: Positive = 1
    """Prune a little, fine-tune, and so on, in so many rounds."""
    round_epochs: Count = 2
    """Passes of the fine-tune after every round but the last."""
    epochs: Count = 12
    """Passes of the last fine-tune, which repairs what pruning broke."""
    batch_size: Positive = 32
    """Images per step."""
    learning_rate: LearningRate = 2e-3
    """Peak of Adam's cosine schedule."""

    @field_validator("target_latency_ratio", "max_accuracy_drop")
    @classmethod
    def _needs_channels(cls, value: float | None, info: ValidationInfo) -> float | None:
        method = info.data.get("method")
        if value is not None and method in ("2:4", "magnitude"):
            # Read after "expected": see pipeline/config.py.
            raise PydanticCustomError("needs_channels", f"none, for prune.method is {method!r}")
        return value


class Quantize(FineTune):
    """INT8 calibration and quantization-aware training."""

    calibration: Literal["auto", "max", "percentile", "entropy", "mse"] = "auto"
    """How ranges are found. `max` covers every value seen; the others clip: the rarest values
    (`percentile`), what costs least information (`entropy`) or least squared error (`mse`).
    `auto` tries all four and keeps the one that is most accurate on the validation images."""
    percentile: Annotated[float, Field(gt=50.0, le=100.0)] = 99.99
    """Share of values, in percent, that the range covers with `percentile`."""
    epochs: Count = 10
    """Passes of the quantization-aware fine-tune; 0 keeps the calibrated model."""
    learning_rate: LearningRate = 1e-4
    """Peak of Adam's cosine schedule: weights only have to settle on the INT8 grid."""
    keep_float: tuple[str, ...] = ()
    """Layers that are not quantized, by name; `first` and `last` are the first and the last
    convolution or Dense layer."""
    max_accuracy_drop: Annotated[float, Field(ge=0.0)] | None = None
    """Accuracy that INT8 may lose on the validation images, in percentage points against the
    float model. If it loses more, the layers that cost most are left in float, as few as
    will do; if that does not help either, the run ends with exit code 3."""


class Convert(Section):
    """Keras to ONNX and LiteRT."""

    parity_samples: Positive = 256
    """Test images on which the converted graphs are compared with Keras."""
    max_relative_difference: Annotated[float, Field(gt=0.0)] = 1e-4
    """Largest difference of float32 outputs, relative to the largest output, that passes."""
    opset: Annotated[int, Field(ge=13, le=18)] = 17
    """ONNX opset of the graphs with a float32 rest. 17 is the newest that TensorRT 8.6 parses,
    and at 18 ONNX Runtime loses its INT8 average pool; float16 graphs always have 19."""


class Build(Section):
    """Engines for this machine."""

    backends: tuple[Backend, ...] = ("onnxruntime", "litert", "tensorrt", "tensorrt_rtx")
    """Engines to try; one that this machine lacks is recorded with the reason."""
    precisions: tuple[Precision, ...] = ("fp32", "fp16", "int8")
    """Precisions to try, where the engine has them."""
    max_batch_size: Positive = 64
    """Largest batch of the TensorRT optimisation profile; its optimum is 1."""
    workspace_mib: Positive = 1024
    """Device memory that TensorRT may use while it tries tactics."""


class Benchmark(Section):
    """Latency and accuracy of the engines themselves."""

    batch_sizes: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1, 32)
    """Images per call."""
    threads: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1,)
    """CPU threads per engine; at batch 1 a small net is fastest with one."""
    warmup_seconds: Seconds = 0.2
    """Each engine runs so long before anything is timed: caches fill, clocks rise."""
    seconds: Seconds = 1.0
    """Timed seconds per engine, batch size and thread count, in interleaved windows."""


class Gates(Section):
    """What the result must satisfy; a run that misses a gate ends with exit code 3."""

    max_accuracy_drop: Annotated[float, Field(ge=0.0)] | None = None
    """Largest loss of top-1 accuracy against the trained model, in percentage points."""


class Settings(Section):
    """All sections, as a configuration file holds them."""

    data: Data = Data()
    model: Model = Model()
    train: Train = Train()
    prune: Prune = Prune()
    quantize: Quantize = Quantize()
    convert: Convert = Convert()
    build: Build = Build()
    benchmark: Benchmark = Benchmark()
    gates: Gates = Gates()


class StageSettings(Section):
    """Base of what one stage may see: some sections of `Settings`, by the same names."""

    @classmethod
    def of(cls, settings: Settings) -> StageSettings:
        """Take this stage's sections out of the whole."""
        return cls(**{name: getattr(settings, name) for name in cls.model_fields})

    def external_files(self) -> list[Path]:
        """Those of all its sections."""
        return [
            file
            for name in type(self).model_fields
            for file in getattr(self, name).external_files()
        ]


class TrainStage(StageSettings):
    """What `train` sees."""

    data: Data = Data()
    model: Model = Model()
    train: Train = Train()


class PruneStage(StageSettings):
    """What `prune` sees."""

    data: Data = Data()
    prune: Prune = Prune()


class QuantizeStage(StageSettings):
    """What `quantize` sees."""

    data: Data = Data()
    quantize: Quantize = Quantize()


class ConvertStage(StageSettings):
    """What `convert` sees."""

    data: Data = Data()
    convert: Convert = Convert()


class BuildStage(StageSettings):
    """What `build` sees."""

    build: Build = Build()


class BenchmarkStage(StageSettings):
    """What `benchmark` sees."""

    data: Data = Data()
    benchmark: Benchmark = Benchmark()
