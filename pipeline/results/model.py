"""The report as types: what report.json holds, and the only reader of it.

    Report
      stages      StageReport    one per record, in the order of the line
      baseline    Baseline       the trained, unpruned float32 model in ONNX Runtime
      engines     EngineReport   one per engine and precision
      gates       GateResult     the quality gates that the run was given

A value that was not measured is None, null in JSON. The schema that other programs may rely on,
report.schema.json, is generated from these classes.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import ConfigDict, Field, SerializeAsAny, ValidationError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from pipeline.core.plan import PLAN, Plan
from pipeline.core.record import faults
from pipeline.core.seal import opened, seal
from stages.engines.registry import EngineName
from stages.results.base import (
    Amount,
    Count,
    Details,
    LatencyRow,
    Measured,
    ModelFacts,
    Quality,
    Sha256,
    StageResult,
)
from stages.results.engines import EngineResult
from stages.results.machine import MachineFacts
from stages.results.training import DatasetCounts

SCHEMA_VERSION: Literal[1] = 1

BENCHMARK = "benchmark"

StageDetails = TypeVar("StageDetails", bound=Details)


class ReportRow(LatencyRow):
    """Time of one call with `batch_size` images."""

    measured_in: str = Field(
        description="The stage that timed it; only rows of `benchmark` were timed in turns."
    )


class StageReport(Measured):
    """One stage that has a record."""

    stage: str
    state: Literal["ran", "cached"]
    outdated: bool = Field(
        default=False, description="Whether it was made from files that have changed since."
    )
    seconds: Amount | None
    notes: tuple[str, ...] = Field(
        default=(), description="What must be known of how the stage came to its result."
    )
    model: ModelFacts
    accuracy: Quality
    latency: tuple[ReportRow, ...]
    details: SerializeAsAny[Details] = Details()
    key: str | None = None
    revision: Count | None = None
    started_at: str | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    environment: MachineFacts = Field(default_factory=MachineFacts)


class Baseline(Measured):
    """The trained, unpruned float32 model in ONNX Runtime: what speed-ups are against."""

    file: str | None = None
    sha256: Sha256 | None = None
    size_bytes: Count | None = None
    accuracy: Quality = Field(default_factory=Quality)
    latency: tuple[ReportRow, ...] = ()


class EngineReport(EngineResult):
    """One engine of one precision, with its file as build left it."""

    sha256: Sha256 | None = None
    size_bytes: Count | None = None
    measured_in: Literal["build", "benchmark"] = "benchmark"
    accuracy: Quality = Field(default_factory=Quality)
    latency: tuple[ReportRow, ...] = ()

    @property
    def is_benchmarked(self) -> bool:
        """Whether the benchmark ran it, so that its latencies compare with the others'."""
        return self.state == "ran" and self.measured_in == BENCHMARK


class GateResult(Measured):
    """A quality gate; `engine` and `got` are null where nothing was judged."""

    gate: Literal["max_accuracy_drop", "max_p50_ms", "max_size_mb", "parity"]
    limit: float
    unit: Literal["points", "ms", "MB", "checks"]
    engine: str | None
    got: float | None
    state: Literal["passed", "missed", "not judged"]
    reason: str


class Report(Measured):
    """What `pipeline report` joins from the records.

    Listed keys stay; others may be added. null means: not measured.
    """

    model_config = ConfigDict(title="report.json of keras-trt-pipeline")

    schema_version: Literal[1] = SCHEMA_VERSION
    verdict: tuple[str, ...] = Field(default=(), description="The result in plain words.")
    environment: MachineFacts = Field(description="The machine that the last stage ran on.")
    dataset: DatasetCounts
    stages: Annotated[tuple[StageReport, ...], Field(min_length=1)]
    baseline: Baseline = Field(default_factory=Baseline)
    engines: tuple[EngineReport, ...]
    gates: tuple[GateResult, ...] = Field(
        default=(), description="The quality gates that the run was given."
    )

    def stage(self, name: str) -> StageReport | None:
        """The entry of a stage, None if it has no record."""
        return next((stage for stage in self.stages if stage.stage == name), None)

    def details(self, kind: type[StageDetails]) -> StageDetails | None:
        """What only one stage measures, by its type; None if that stage has no record."""
        for stage in self.stages:
            if isinstance(stage.details, kind):
                return stage.details
        return None

    def engine(self, name: EngineName) -> EngineReport | None:
        """The entry of an engine, None if it was not wanted."""
        return next((engine for engine in self.engines if engine.name == name), None)

    @property
    def network(self) -> str | None:
        """What the settings of the stages call the network; None where no record tells."""
        return network_of(
            {name: part for each in self.stages for name, part in each.settings.items()}
        )

    def is_current(self, name: str) -> bool:
        """Whether a stage has a record, made from files as they are now."""
        stage = self.stage(name)
        return stage is not None and not stage.outdated


def network_of(settings: Mapping[str, Any]) -> str | None:
    """What the settings call the network: settings are the user's, not a record's."""
    model = settings.get("model", {})
    name: str | None = model.get("source") or model.get("name")
    return name


def write(report: Report) -> bytes:
    """The bytes of report.json, sealed."""
    return seal(report.model_dump_json(indent=2))


def read(raw: bytes, plan: Plan = PLAN) -> Report:
    """The report in the bytes of a report.json. Raises ValueError, in one line."""
    content = json.loads(raw)
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version != SCHEMA_VERSION:
        raise ValueError("it is not what `pipeline report --format json` writes")
    if set(content) - set(Report.model_fields):
        # Earlier versions wrote no seal, but no other key either: it may be the seal's, damaged.
        content = opened(raw)
    results = {stage.name: stage.result for stage in plan}
    try:
        if isinstance(stages := content.get("stages"), list):
            content["stages"] = [_with_details(stage, results) for stage in stages]
        return Report.model_validate(content)
    except ValidationError as error:
        raise ValueError(faults(error)) from error


def _with_details(stage: Any, results: Mapping[str, type[StageResult]]) -> Any:
    """A stage of report.json whose details have the type that its row of the plan says."""
    if not isinstance(stage, dict):
        return stage
    result = results.get(str(stage.get("stage")), StageResult)
    typed = result.model_validate({"details": stage.get("details") or {}})
    return {**stage, "details": typed.details}


class _EveryKey(GenerateJsonSchema):
    """Schema of a report as it is written: no key is left out, so there are no defaults."""

    def field_is_required(self, field: Any, total: bool) -> bool:
        return True

    def default_schema(self, schema: Any) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def schema() -> dict[str, Any]:
    """JSON Schema of report.json, draft 2020-12."""
    described = Report.model_json_schema(mode="serialization", schema_generator=_EveryKey)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **described}
