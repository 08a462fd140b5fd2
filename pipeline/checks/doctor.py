"""`pipeline doctor`: what this machine has, what it can do, and what would change that."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pipeline.checks import tensorflow_build
from stages.engines import environment, modules, registry
from stages.engines.base import Blocker
from stages.packages import TRAINING, install, missing, not_installed
from stages.results.machine import MachineFacts


class Ability(NamedTuple):
    """What keeps `name` from being built and from being run here; None where nothing does."""

    name: str
    build: Blocker | None
    run: Blocker | None


def diagnose() -> RenderableType:
    """Versions, CPU features, GPU, and which stages and engines can be built and run here.

    Imports the runtimes of the engines that are installed, never TensorFlow.
    """
    blocker = training_blocker()
    abilities = [Ability("training", blocker, blocker)]
    abilities += [Ability(name, *engine_blockers(name)) for name in registry.ENGINES]
    return Group(
        _machine(environment.describe()),
        Text(),
        _abilities(abilities),
        *(line for ability in abilities for line in _obstacles(ability)),
    )


def training_blocker() -> Blocker | None:
    """Why no model can be trained or converted here, if so."""
    absent = missing(TRAINING)
    return Blocker(not_installed(absent), install(absent)) if absent else None


def engine_blockers(backend: str) -> tuple[Blocker | None, Blocker | None]:
    """Why `backend` cannot be built and run here; a runtime that fails to load is a reason."""
    try:
        module = modules.load(backend)
        return module.build_blocker(), module.run_blocker()
    except (ImportError, OSError) as error:
        packages = " ".join(registry.ENGINES[backend].packages)
        broken = Blocker(
            f"its runtime is installed but does not load: {error}",
            f"pip install --force-reinstall {packages}",
        )
        return broken, broken


def _machine(facts: MachineFacts) -> Table:
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
        ("TensorFlow", tensorflow_build.describe()),
        ("packages", "\n".join(versions) or "none"),
    ):
        drawn.add_row(Text(what, style="bold"), Text(value))
    return drawn


def _abilities(abilities: Iterable[Ability]) -> Table:
    drawn = Table(
        "engine", "can be built", "can be run", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False
    )
    yes, no = Text("yes", style="green"), Text("no", style="red")
    for name, build, run in abilities:
        drawn.add_row(name, no if build else yes, no if run else yes)
    return drawn


def _obstacles(ability: Ability) -> Iterator[Text]:
    name, build, run = ability
    blockers = {"built or run": build} if build == run else {"built": build, "run": run}
    for verb, blocker in blockers.items():
        if blocker is not None:
            yield Text(f"\n{name} cannot be {verb}: {blocker.reason}\n  {blocker.fix}")
