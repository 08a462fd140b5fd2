"""Whether what a search compares can be measured at all: found out before the first trial trains.

A setting that is a knob is not judged: another of its values may do.
"""

from __future__ import annotations

import shlex
from typing import get_args

from pipeline.checks import doctor
from pipeline.search.knobs import words
from stages.engines.base import Blocker
from stages.engines.registry import ENGINES, EngineName, ExtraPrecision, precision_label
from stages.errors import SettingsError
from stages.measurement import machine_state, memory
from stages.settings import Settings


def refuse_unmeasurable(settings: Settings, is_here: bool) -> None:
    """Raise SettingsError where no trial could have what the search compares.

    `is_here` is false where trials run on other machines: what this one lacks says nothing then.
    """
    _refuse_other_batch(settings)
    _refuse_objectives(settings, is_here)
    _refuse_engines(settings, is_here)


def _refuse_other_batch(settings: Settings) -> None:
    fixed, size = settings.convert.batch_size, settings.search.batch_size
    if fixed not in (0, size) and "convert.batch_size" not in settings.search.knobs:
        raise SettingsError(
            f"search.batch_size: got {size}, expected {fixed}, the only one that engines take with "
            f"convert.batch_size={fixed}",
            f"--set search.batch_size={fixed}, or --set convert.batch_size=0",
        )


def _refuse_objectives(settings: Settings, is_here: bool) -> None:
    wanted, leave_out = settings.search.objectives, "leave it out of search.objectives"
    if "memory" in wanted and is_here and not memory.STATUS.exists():
        why = "this system does not tell what memory a process takes"
        raise SettingsError(f"search.objectives: 'memory' is never measured here: {why}", leave_out)
    if "energy" in wanted and (why := _without_power(settings.search.engine, is_here)):
        raise SettingsError(f"search.objectives: 'energy' is never measured here: {why}", leave_out)


def _without_power(engine: str, is_here: bool) -> str:
    """Why nothing tells the power that the engine takes; empty where something does."""
    if engine != "best" and ENGINES[EngineName.parse(engine).backend].device == "cpu":
        return f"{engine} runs on the CPU"
    return "no GPU tells its power" if is_here and not machine_state.watch_command() else ""


def _refuse_engines(settings: Settings, is_here: bool) -> None:
    """Refuse the engine of the search, or where it takes the best, a build without any."""
    build, search = settings.build, settings.search
    if search.engine != "best":
        name = EngineName.parse(search.engine)
        if fault := _never_timed(name, settings, is_here):
            raise SettingsError(f"search.engine: {name} is never timed: {fault.reason}", fault.fix)
        return
    if not {"build.backends", "build.precisions"}.isdisjoint(search.knobs):
        return
    reasons = {}
    for name in (EngineName(one, other) for one in build.backends for other in build.precisions):
        fault = _never_timed(name, settings, is_here)
        if fault is None:
            return
        reasons[fault.reason] = fault.fix
    why = "; ".join(reasons) or "build.backends and build.precisions name none"
    raise SettingsError(
        f"search.engine: no engine that is built is ever timed: {why}",
        next(iter(reasons.values()), "leave them out for the default ones"),
    )


def _never_timed(name: EngineName, settings: Settings, is_here: bool) -> Blocker | None:
    """Why no trial times this engine, and how to change that; None where one may."""
    return (
        _without_precision(name)
        or _left_out(name, settings)
        or _too_large(name, settings)
        or (_blocked(name.backend) if is_here else None)
    )


def _without_precision(name: EngineName) -> Blocker | None:
    spec = ENGINES[name.backend]
    if name.precision in spec.precisions:
        return None
    known = ", ".join(str(EngineName(name.backend, each)) for each in spec.precisions)
    return Blocker(f"{spec.label} has no {precision_label(name.precision)}", f"it has: {known}")


def _left_out(name: EngineName, settings: Settings) -> Blocker | None:
    backend, precision = name
    listed: dict[str, tuple[str, tuple[str, ...]]] = {
        "build.backends": (backend, settings.build.backends),
        "build.precisions": (precision, settings.build.precisions),
    }
    if precision in get_args(ExtraPrecision):
        listed["convert.extra_precisions"] = (precision, settings.convert.extra_precisions)
    for setting, (wanted, given) in listed.items():
        if wanted not in given and setting not in settings.search.knobs:
            more = shlex.join(words({setting: [*given, wanted]}))
            return Blocker(f"{setting} leaves {wanted} out", f"add it: {more}")
    return None


def _too_large(name: EngineName, settings: Settings) -> Blocker | None:
    size, largest = settings.search.batch_size, settings.build.max_batch_size
    is_bound = ENGINES[name.backend].device == "gpu"
    if not is_bound or size <= largest or "build.max_batch_size" in settings.search.knobs:
        return None
    return Blocker(
        f"search.batch_size {size} is above build.max_batch_size {largest}",
        f"--set build.max_batch_size={size}",
    )


def _blocked(backend: str) -> Blocker | None:
    build, run = doctor.engine_blockers(backend)
    return build or run
