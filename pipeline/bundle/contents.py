"""What a bundle holds: bundle.json as types, and the only reader of it.

bundle.json           this file: the engine, its input and output, what was measured, hashes
<engine file>         as `build` wrote it
labels.txt            the names of the classes, a line each; the line is the class, or the output
                      that is one of several labels; there is none where outputs are numbers, or
                      where there are several
samples/              some test images, as PNG, or as .npy where no image file holds them; of
                      several inputs as .npz with an array for each
expected.npy          the engine's outputs for them; of several a field for each
predict.py            a program of its own that uses the engine, where programs/ has its runtime;
                      requirements.txt is what it needs
report.md             how it was made
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from pipeline.core.hashing import hash_file
from pipeline.core.record import FileName, faults
from pipeline.core.seal import opened, seal
from stages.artifacts.signature import Head, Signature
from stages.artifacts.signature import Input as SignatureInput
from stages.engines.registry import ENGINES, EngineName
from stages.errors import ArtifactError, shown
from stages.results.base import Count, LatencyRow, Measured, Quality, Sha256
from stages.results.engines import MachineState
from stages.results.machine import MachineFacts
from stages.tasks.registry import Output as OutputKind
from stages.tasks.registry import TaskName

FILE = "bundle.json"
LABELS = "labels.txt"
SAMPLES = "samples"
EXPECTED = "expected.npy"
PROGRAM = "predict.py"
REQUIREMENTS = "requirements.txt"
REPORT = "report.md"

VERSION: Literal[3] = 3
OF_SEVERAL: Literal[4] = 4
OF_SEVERAL_INPUTS: Literal[5] = 5
READABLE = (1, 2, VERSION, OF_SEVERAL, OF_SEVERAL_INPUTS)
"""Version 1 was for classifiers alone, version 2 for images of pixels, version 3 for one output,
version 4 for one input: whatever reads no other would take all else for these."""
AGAIN = "export it again: pipeline export --to PATH"


class BundledFile(Measured):
    """The engine's file and how to run it."""

    backend: str
    precision: str
    file: str
    threads: Count = Field(description="With which it was chosen; 1 where nothing was chosen.")
    max_batch_size: Count = Field(description="The largest that it takes; 0 stands for any.")
    packages: dict[str, str] = Field(description="Versions that it was built and measured with.")

    @property
    def name(self) -> EngineName:
        """As in "litert.int8"."""
        return EngineName(self.backend, self.precision)


class Input(Measured):
    """One image, signal, volume or vector; the model sees `value * scale + offset`.

    With dtype "uint8" the engine does that itself. Image files are put upright, on black where
    they are transparent, made `mode` ("L" is gray) and resized to `shape`.
    """

    name: str
    shape: tuple[int, ...] = Field(
        min_length=1,
        max_length=4,
        description="(height, width, channels), or fewer or more axes.",
    )
    dtype: Literal["uint8", "float32"] = Field(description="Of what the engine takes.")
    data_dtype: Literal["uint8", "float32"] = Field(
        default="uint8", description="Of the values before they are scaled."
    )
    layout: str
    batch_size: Count = Field(description="The only one that it takes; 0 stands for any.")
    scale: float
    offset: float
    mode: Literal["L", "RGB"] | None = Field(description="null: image files cannot be read.")
    resize: Literal["bilinear"] = "bilinear"


class Output(Measured):
    """What the engine returns for one image: for classification a value per class.

    `binary` is one value, for a yes, which is the second class; `multilabel` a value per label;
    `regression` the values themselves; `segmentation` a value per pixel and class, or one per pixel
    for the second of two classes; `raw` whatever it is. `several` stands for all of `outputs`.
    """

    name: str
    kind: OutputKind = Field(description="logits are before the softmax, or before the sigmoids.")
    classes: tuple[str, ...] = Field(description="Names of the classes, the labels or the values.")
    task: TaskName = "classification"
    shape: tuple[int, ...] = Field(description="For one image, without the batch.")
    thresholds: tuple[float, ...] = Field(
        default=(), description="A probability of at least its threshold is a yes."
    )

    @model_validator(mode="before")
    @classmethod
    def _of_version_1(cls, given: Any) -> Any:
        if isinstance(given, dict) and "shape" not in given:
            return {**given, "shape": (len(given.get("classes", ())),)}
        return given


class Measurements(Measured):
    """On the test split, by `benchmark`; `baseline` is the trained model before all of it."""

    accuracy: Quality
    baseline_accuracy: Quality
    latency: tuple[LatencyRow, ...]
    baseline_latency: tuple[LatencyRow, ...]
    machine: MachineFacts
    conditions: MachineState | None = Field(
        default=None, description="What the machine was doing, and how long was measured."
    )


class Bundle(Measured):
    """bundle.json."""

    bundle_version: Literal[1, 2, 3, 4, 5] = VERSION
    made_with: str
    network: str
    data: str | None
    engine: BundledFile
    input: Input | None = Field(description="null: the network has several inputs.")
    inputs: tuple[Input, ...] = Field(
        default=(), description="Of a network with several, in the order of the network."
    )
    output: Output
    outputs: tuple[Output, ...] = Field(
        default=(), description="Of a network with several, in the order of the network."
    )
    built_on: MachineFacts
    measured: Measurements | None = Field(description="null: it has not been benchmarked.")
    files: dict[FileName, Sha256]

    @model_validator(mode="after")
    def _has_input(self) -> Bundle:
        if (self.input is None) != bool(self.inputs):
            raise ValueError("either one input or several are wanted")
        return self

    @property
    def each_input(self) -> tuple[Input, ...]:
        """Of one input that alone."""
        return self.inputs if self.input is None else (self.input,)

    @property
    def signature(self) -> Signature:
        """Inputs and outputs as engines take them."""
        found = Signature(
            input_shape=(),
            class_names=self.output.classes,
            scale=1.0,
            offset=0.0,
            output_name=self.output.name,
            output=self.output.kind,
            batch_size=self.each_input[0].batch_size,
            task=self.output.task,
            output_shape=self.output.shape,
            thresholds=self.output.thresholds,
            heads=tuple(
                Head(each.name, each.task, each.kind, each.classes, each.shape, each.thresholds)
                for each in self.outputs
            ),
            inputs=tuple(
                SignatureInput(
                    each.name,
                    each.shape,
                    each.scale,
                    each.offset,
                    each.layout,
                    each.dtype,
                    each.data_dtype,
                )
                for each in self.each_input
            ),
        )
        return found if self.inputs else found.each_input[0]


def write(bundle: Bundle, folder: Path) -> None:
    """Write bundle.json, sealed, into `folder`."""
    (folder / FILE).write_bytes(seal(bundle.model_dump_json(indent=2)))


def read(folder: Path) -> Bundle:
    """The bundle in `folder`, every file of which is as it was exported.

    Raises ArtifactError, which names the file that is not.
    """
    try:
        raw = (folder / FILE).read_bytes()
    except OSError as error:
        raise ArtifactError(
            f"{str(folder)!r} is no bundle: {FILE} cannot be read ({error.strerror})",
            "name the folder or zip archive that `pipeline export --to PATH` wrote",
        ) from error
    try:
        content = opened(raw)
        version = content.get("bundle_version")
        if version not in READABLE:
            raise ValueError(
                f"it has version {shown(version)}, expected one of: {', '.join(map(str, READABLE))}"
            )
        bundle = Bundle.model_validate(content)
    except ValidationError as error:
        raise ArtifactError(f"{folder / FILE} is damaged: {faults(error)}", AGAIN) from error
    except ValueError as error:
        raise ArtifactError(f"{folder / FILE} is damaged: {error}", AGAIN) from error
    _check(bundle, folder)
    return bundle


def _check(bundle: Bundle, folder: Path) -> None:
    if bundle.engine.backend not in ENGINES:
        raise ArtifactError(
            f"the bundle's engine is {bundle.engine.name}, expected one of: {', '.join(ENGINES)}",
            "use the version of this program that exported it",
        )
    for name, expected in bundle.files.items():
        try:
            found = hash_file(folder / name)
        except OSError as error:
            raise ArtifactError(
                f"{folder / name} cannot be read: {error.strerror}", AGAIN
            ) from error
        if found != expected:
            raise ArtifactError(f"{folder / name} is not as it was exported", AGAIN)
