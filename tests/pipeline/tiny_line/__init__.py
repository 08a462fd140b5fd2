"""A line of three real stages that write small text files, run by the real machinery.

    write ----> copy      process "tensorflow" (without TensorFlow)
      |          |
      +----+-----+
           v
         join             process "engine", keyed by the environment

The other modules are stages that go wrong; `PLAN` with one of them in the place of `copy`
is `plan_with_copy("tiny_line.aborts")`.
"""

from __future__ import annotations

from dataclasses import replace

from pipeline.core.plan import Plan, Stage, checked
from stages.results.base import StageResult
from stages.results.conversion import ConvertResult
from stages.results.engines import BenchmarkResult
from stages.results.training import TrainResult
from stages.settings import Convert, Data, Prune, StageSettings, Train


class WriteStage(StageSettings):
    train: Train = Train()


class CopyStage(StageSettings):
    data: Data = Data()
    prune: Prune = Prune()


class JoinStage(StageSettings):
    convert: Convert = Convert()

    @property
    def depends_on_machine(self) -> bool:
        return True


PLAN = checked(
    (
        Stage("write", 1, "tiny_line.write", WriteStage, StageResult, (), "tensorflow"),
        Stage("copy", 1, "tiny_line.copy", CopyStage, StageResult, ("write",), "tensorflow"),
        Stage("join", 1, "tiny_line.join", JoinStage, StageResult, ("write", "copy"), "engine"),
    )
)


MEASURED = checked(
    (
        Stage("train", 1, "tiny_line.measures", WriteStage, TrainResult, (), "tensorflow"),
        Stage(
            "benchmark", 1, "tiny_line.measures", CopyStage, BenchmarkResult, ("train",), "engine"
        ),
    )
)
"""Two stages that claim an accuracy: 97 % of the model, 95 % of an engine."""

DISAGREES = checked(
    (Stage("convert", 1, "tiny_line.disagrees", JoinStage, ConvertResult, (), "tensorflow"),)
)
"""One stage with a parity check that fails."""


def plan_with_copy(module: str) -> Plan:
    return tuple(replace(stage, module=module) if stage.name == "copy" else stage for stage in PLAN)
