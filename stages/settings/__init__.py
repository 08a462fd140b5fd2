"""Every setting of the line: one frozen section per stage, each with its unit and its reason.

A stage sees only what its own class at the end of this file holds, and exactly that
is hashed into its key: a setting that a stage cannot see cannot make its artifact stale.

Without `from __future__ import annotations`, as stages/results (decision 20).
"""

from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field

from stages.engines.registry import ENGINES, EngineName
from stages.settings.base import Backend, Section
from stages.settings.compression import Prune, Quantize
from stages.settings.data import Data, Model, Quality
from stages.settings.deployment import Benchmark, Build, Convert, Gates, Gpu, Report, TensorRT
from stages.settings.searching import Knob, Search
from stages.settings.training import FineTune, Train, Training

__all__ = [
    "Backend",
    "Benchmark",
    "BenchmarkStage",
    "Build",
    "BuildStage",
    "Convert",
    "ConvertStage",
    "Data",
    "FineTune",
    "Gates",
    "Gpu",
    "Knob",
    "Model",
    "Prune",
    "PruneStage",
    "Quality",
    "Quantize",
    "QuantizeStage",
    "Report",
    "Search",
    "Section",
    "Settings",
    "StageSettings",
    "TensorRT",
    "Train",
    "TrainStage",
    "Training",
]


TRIAL_SETTINGS = ("max_batch_size", "batch_sizes", "workspace_mib")
"""Of `build`, for engines that are timed while pruning."""


class Settings(Section):
    """All sections, as a configuration file holds them."""

    data: Data = Field(default_factory=Data)
    model: Model = Field(default_factory=Model)
    quality: Quality = Field(default_factory=Quality)
    train: Train = Field(default_factory=Train)
    prune: Prune = Field(default_factory=Prune)
    quantize: Quantize = Field(default_factory=Quantize)
    convert: Convert = Field(default_factory=Convert)
    build: Build = Field(default_factory=Build)
    tensorrt: TensorRT = Field(default_factory=TensorRT)
    gpu: Gpu = Field(default_factory=Gpu)
    benchmark: Benchmark = Field(default_factory=Benchmark)
    gates: Gates = Field(default_factory=Gates)
    report: Report = Field(default_factory=Report)
    search: Search = Field(default_factory=Search)


class StageSettings(Section):
    """Base of what one stage may see: some sections of `Settings`, by the same names.

    They are valid there: only a stage's own process reads them from JSON, and builds a validator.
    """

    model_config = ConfigDict(defer_build=True)

    @classmethod
    def of(cls, settings: Settings) -> "StageSettings":
        """Take this stage's sections, which are valid already, out of the whole."""
        return cls.model_construct(**{name: getattr(settings, name) for name in cls.model_fields})

    @property
    def depends_on_machine(self) -> bool:
        """Whether another driver, runtime or processor makes the artifact stale."""
        return False

    @property
    def hash_contents(self) -> bool:
        """Whether folders among `external_files` are known by the content of their files."""
        return bool(getattr(getattr(self, "data", None), "hash_contents", False))

    def external_files(self) -> list[Path]:
        """Those of all its sections."""
        sections = (getattr(self, name) for name in type(self).model_fields)
        return [file for section in sections if section for file in section.external_files()]

    def listed_files(self) -> dict[str, Path]:
        """Those of its data set, which alone lists any."""
        data = getattr(self, "data", None)
        return data.listed_files() if data else {}

    def to_json(self) -> dict[str, Any]:
        """The sections as JSON values, without those that this stage does not read."""
        sections = {name: getattr(self, name) for name in type(self).model_fields}
        return {
            name: section.model_dump(mode="json")
            for name, section in sections.items()
            if section is not None
        }


class TrainStage(StageSettings):
    """What `train` sees; the stages behind it find the metric in the signature."""

    data: Data = Field(default_factory=Data)
    model: Model = Field(default_factory=Model)
    quality: Quality = Field(default_factory=Quality)
    train: Train = Field(default_factory=Train)


class PruneStage(StageSettings):
    """What `prune` sees; how engines are built only where it builds some of TensorRT."""

    data: Data = Field(default_factory=Data)
    model: Model = Field(default_factory=Model)
    prune: Prune = Field(default_factory=Prune)
    build: Build | None = None
    tensorrt: TensorRT | None = None

    @classmethod
    def of(cls, settings: Settings) -> "StageSettings":
        """Of `build` with no more than what decides how an engine of TensorRT is built."""
        parts = {"data": settings.data, "model": settings.model, "prune": settings.prune}
        seen = cls.model_construct(None, **parts)
        backend = EngineName.parse(settings.prune.target).backend
        if not seen.depends_on_machine or ENGINES[backend].device != "gpu":
            return seen
        build = settings.build.model_dump(include=set(TRIAL_SETTINGS))
        return seen.model_copy(update={"build": Build(**build), "tensorrt": settings.tensorrt})

    @property
    def depends_on_machine(self) -> bool:
        """Where the decision how much to prune is made by measured latency."""
        wanted = (self.prune.target_latency_ratio, self.prune.max_accuracy_drop)
        return any(value is not None for value in wanted)


class QuantizeStage(StageSettings):
    """What `quantize` sees."""

    data: Data = Field(default_factory=Data)
    model: Model = Field(default_factory=Model)
    quantize: Quantize = Field(default_factory=Quantize)


class ConvertStage(StageSettings):
    """What `convert` sees."""

    data: Data = Field(default_factory=Data)
    model: Model = Field(default_factory=Model)
    convert: Convert = Field(default_factory=Convert)


class BuildStage(StageSettings):
    """What `build` sees."""

    build: Build = Field(default_factory=Build)
    tensorrt: TensorRT = Field(default_factory=TensorRT)
    gpu: Gpu = Field(default_factory=Gpu)

    @property
    def depends_on_machine(self) -> bool:
        """Engines are built and chosen for it."""
        return True


class BenchmarkStage(StageSettings):
    """What `benchmark` sees; `data` is None where it takes the images that `convert` carried."""

    data: Data | None = None
    gpu: Gpu = Field(default_factory=Gpu)
    benchmark: Benchmark = Field(default_factory=Benchmark)

    @classmethod
    def of(cls, settings: Settings) -> "StageSettings":
        """Without the data set where no image of it is read."""
        own = super().of(settings)
        is_carried = settings.benchmark.images == "carried"
        return own.model_copy(update={"data": None}) if is_carried else own

    @property
    def depends_on_machine(self) -> bool:
        """It is what is measured."""
        return True
