"""The plan: the whole line on one page. A stage is one row here and one module in `stages/`.

    train ------> prune ------> quantize         in the process that imports TensorFlow
      |             |              |
      +-------------+------+-------+
                           v
                        convert
    - - - - - - - - - - -  |  - - - - - - - -    from here on no TensorFlow is needed,
                           v                     and its GPU memory has been given back
                         build
                           |
                           v
                       benchmark

The report is no stage: it is drawn from the records after every run.
Modules are named as strings, so that reading the plan imports no stage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from stages.errors import SettingsError, nearest, suggestion
from stages.results.base import StageResult
from stages.results.conversion import ConvertResult
from stages.results.engines import BenchmarkResult, BuildResult
from stages.results.pruning import PruneResult
from stages.results.quantization import QuantizeResult
from stages.results.training import TrainResult
from stages.settings import (
    BenchmarkStage,
    BuildStage,
    ConvertStage,
    PruneStage,
    QuantizeStage,
    StageSettings,
    TrainStage,
)

# Stages of one kind share a child; it exits before the other kind starts, and only that frees
# TensorFlow's GPU memory (decision 2).
Process = Literal["tensorflow", "engine"]

EVERYTHING = "all"
REPORT = "report"


@dataclass(frozen=True)
class Stage:
    """One row: what a stage is called, where its code is, what it sees, returns and waits for.

    Raise `revision` whenever the same settings and inputs give another result than before:
    it is part of the key, the code itself is not.
    """

    name: str
    revision: int
    module: str
    settings: type[StageSettings]
    result: type[StageResult]
    needs: tuple[str, ...]
    process: Process


Plan = tuple[Stage, ...]


def checked(plan: Plan) -> Plan:
    """Return `plan` if each stage has a name of its own and stands below all that it needs.

    Raises ValueError: a wrong plan is a mistake in the code, found when it is imported.
    """
    above: set[str] = set()
    for stage in plan:
        if stage.name in above | {EVERYTHING, REPORT}:
            raise ValueError(f"two stages or words are called {stage.name!r}")
        if late := [need for need in stage.needs if need not in above]:
            raise ValueError(f"stage {stage.name!r} needs {late}, which must stand above it")
        above.add(stage.name)
    return plan


PLAN = checked(
    (
        Stage(
            name="train",
            revision=14,
            module="stages.train",
            settings=TrainStage,
            result=TrainResult,
            needs=(),
            process="tensorflow",
        ),
        Stage(
            name="prune",
            revision=21,
            module="stages.prune",
            settings=PruneStage,
            result=PruneResult,
            needs=("train",),
            process="tensorflow",
        ),
        Stage(
            name="quantize",
            revision=21,
            module="stages.quantize",
            settings=QuantizeStage,
            result=QuantizeResult,
            needs=("prune",),
            process="tensorflow",
        ),
        Stage(
            name="convert",
            revision=23,
            module="stages.convert",
            settings=ConvertStage,
            result=ConvertResult,
            needs=("train", "prune", "quantize"),
            process="tensorflow",
        ),
        Stage(
            name="build",
            revision=10,
            module="stages.build",
            settings=BuildStage,
            result=BuildResult,
            needs=("convert",),
            process="engine",
        ),
        Stage(
            name="benchmark",
            revision=11,
            module="stages.benchmark",
            settings=BenchmarkStage,
            result=BenchmarkResult,
            needs=("build",),
            process="engine",
        ),
        # Add a stage below all that it needs.
    )
)


def find(plan: Plan, name: str, words: tuple[str, ...] = ()) -> Stage:
    """The stage called `name`; `words` may stand in its place and be meant as well.

    Raises SettingsError with the nearest known name.
    """
    for stage in plan:
        if stage.name == name:
            return stage
    known = [stage.name for stage in plan]
    raise SettingsError(
        f"unknown stage {name!r}{suggestion(nearest(name, [*known, *words]))}",
        f"stages: {', '.join(known)}; {EVERYTHING!r} runs them in this order",
    )


def select(
    plan: Plan, names: Sequence[str], first: str | None = None, last: str | None = None
) -> Plan:
    """The stages that a command line asks for, in the plan's order.

    `names` are stages, "all", or "report" (which selects no stage); `first` and `last`
    cut a range out of all of them. Raises SettingsError.
    """
    wanted = {name for name in names if name not in (EVERYTHING, REPORT)}
    for name in wanted:
        find(plan, name, (EVERYTHING, REPORT))
    if first is None and last is None:
        return tuple(row for row in plan if EVERYTHING in names or row.name in wanted)
    if names and EVERYTHING not in names:
        raise SettingsError(
            "--from and --to cut a range out of all stages; got stage names as well",
            f"leave out {' '.join(names)!r}",
        )
    start = 0 if first is None else plan.index(find(plan, first))
    end = len(plan) - 1 if last is None else plan.index(find(plan, last))
    if start > end:
        raise SettingsError(f"--from {first} comes after --to {last}", "swap the two")
    return plan[start : end + 1]


def ancestors(plan: Plan, stages: Plan) -> Plan:
    """All stages that `stages` stand on, in the plan's order, without `stages` themselves."""
    wanted = {stage.name for stage in stages}
    needed: set[str] = set()
    for stage in reversed(plan):
        if stage.name in wanted | needed:
            needed.update(stage.needs)
    return tuple(stage for stage in plan if stage.name in needed - wanted)


def rest(plan: Plan, stage: Stage) -> Plan:
    """All stages that stand on `stage`, in the plan's order, without `stage` itself."""
    return tuple(each for each in plan if stage in ancestors(plan, (each,)))
