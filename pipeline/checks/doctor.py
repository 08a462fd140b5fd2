"""`pipeline doctor`: what this machine has, what it can do, and what would change that."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pipeline.checks import tensorflow_build
from stages.engines import environment, modules, registry
from stages.engines.base import Blocker, broken_package, does_not_load
from stages.errors.packages import TRAINING, install, missing, not_installed
from stages.results.asides import TensorFlowFacts
from stages.results.machine import MachineFacts


@dataclass(frozen=True)
class Ability:
    """What keeps `name` from being built and from being run here; None where nothing does."""

    name: str
    build: Blocker | None
    run: Blocker | None


@dataclass(frozen=True)
class Diagnosis:
    """All that is found; `tensorflow` says what it sees, or why it does not load."""

    machine: MachineFacts
    tensorflow: TensorFlowFacts | str | None
    tensorflow_build: str
    abilities: tuple[Ability, ...]

    def to_json(self) -> dict[str, Any]:
        """Every fact, as scripts read it."""
        seen = self.tensorflow
        return {
            "machine": self.machine.model_dump(mode="json"),
            "tensorflow": {
                "build": self.tensorflow_build,
                "error": seen if isinstance(seen, str) else None,
                **(seen.model_dump(mode="json") if isinstance(seen, TensorFlowFacts) else {}),
            },
            "abilities": {each.name: _to_json(each) for each in self.abilities},
        }


def _to_json(ability: Ability) -> dict[str, Any]:
    blockers = {"build": ability.build, "run": ability.run}
    return {verb: {"possible": each is None, **_fields(each)} for verb, each in blockers.items()}


def _fields(blocker: Blocker | None) -> dict[str, str | None]:
    return asdict(blocker) if blocker else {"reason": None, "fix": None}


def diagnose() -> Diagnosis:
    """Versions, CPU features, GPU, and which stages and engines can be built and run here.

    TensorFlow and every runtime are imported in child processes: one that is broken is a line.
    """
    build = tensorflow_build.describe()
    seen = None if missing(["tensorflow"]) else tensorflow_build.seen()
    blocker = training_blocker(seen)
    abilities = [Ability("training", blocker, blocker)]
    abilities += [Ability(name, *engine_blockers(name)) for name in registry.ENGINES]
    return Diagnosis(environment.describe(), seen, build, tuple(abilities))


def training_blocker(seen: TensorFlowFacts | str | None) -> Blocker | None:
    """Why no model can be trained or converted here, if so."""
    if absent := missing(TRAINING):
        return Blocker(not_installed(absent), install(absent))
    return does_not_load(seen, "tensorflow") if isinstance(seen, str) else None


def engine_blockers(backend: str) -> tuple[Blocker | None, Blocker | None]:
    """Why `backend` cannot be built and run here; a runtime that fails to load is a reason."""
    try:
        module = modules.load(backend)
        build, run = module.build_blocker(), module.run_blocker()
    except (ImportError, OSError) as error:
        broken = does_not_load(error, *registry.ENGINES[backend].packages)
        return broken, broken
    if registry.ENGINES[backend].device == "gpu":
        return build, run  # They have tried it: nothing else does before the engine is built.
    broken_runtime = broken_package(backend)
    return build or broken_runtime, run or broken_runtime


def table(diagnosis: Diagnosis) -> RenderableType:
    """The diagnosis for people, with what stands in the way below it."""
    return Group(
        _machine(diagnosis),
        Text(),
        _abilities(diagnosis.abilities),
        *(line for ability in diagnosis.abilities for line in _obstacles(ability)),
    )


def _machine(diagnosis: Diagnosis) -> Table:
    facts = diagnosis.machine
    cpu, gpu = facts.cpu, facts.gpu
    int8 = [flag for flag in environment.INT8_FLAGS if flag in cpu.flags]
    cards = ", ".join(gpu.names) or "none found"
    versions = (f"{name} {version}" for name, version in facts.packages.items())
    drawn = Table.grid(padding=(0, 2, 0, 0))
    for what, value in (
        ("python", f"{facts.python} on {facts.platform} ({facts.machine})"),
        ("processor", f"{cpu.model or 'unknown'}, {cpu.cores} cores"),
        ("features", " ".join(cpu.flags) or "none known"),
        ("fast INT8", " ".join(int8) or "no instruction known: INT8 saves memory more than time"),
        ("GPU", f"{cards}, driver {gpu.driver}" if gpu.driver else cards),
        ("TensorFlow", _tensorflow(diagnosis)),
        ("packages", "\n".join(versions) or "none"),
    ):
        drawn.add_row(Text(what, style="bold"), Text(value))
    return drawn


def _tensorflow(diagnosis: Diagnosis) -> str:
    seen = diagnosis.tensorflow
    if seen is None:
        return diagnosis.tensorflow_build
    words = "does not load" if isinstance(seen, str) else tensorflow_build.in_words(seen)
    return f"{diagnosis.tensorflow_build}; {words}"


def _abilities(abilities: Iterable[Ability]) -> Table:
    drawn = Table(
        "engine", "can be built", "can be run", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False
    )
    yes, no = Text("yes", style="green"), Text("no", style="red")
    for each in abilities:
        drawn.add_row(each.name, no if each.build else yes, no if each.run else yes)
    return drawn


def _obstacles(ability: Ability) -> Iterator[Text]:
    build, run = ability.build, ability.run
    blockers = {"built or run": build} if build == run else {"built": build, "run": run}
    for verb, blocker in blockers.items():
        if blocker is not None:
            yield Text(f"\n{ability.name} cannot be {verb}: {blocker.reason}\n  {blocker.fix}")
