"""The tables of a search, as plain text cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline.report.tables import Table
from pipeline.results import units
from pipeline.search import results, rungs
from pipeline.search.knobs import settings_of
from pipeline.search.model import RungResult, Trial
from pipeline.search.results import Found
from pipeline.search.searching import Searched
from stages.engines.registry import ENGINES, EngineName
from stages.settings.searching import Objective

CONSTANT = "did not vary"
"""Of a knob that had one value in all trials that were trained in full: it may matter, or not."""

OPTIONAL: dict[Objective, tuple[str, Callable[[RungResult], str]]] = {
    "memory": ("memory MiB", lambda result: units.mebibytes(result.memory_mib)),
    "energy": ("energy mJ", lambda result: units.millijoules(result.latency.millijoules)),
}
"""Columns of what is measured only where it is an objective."""


def _columns(found: Found) -> tuple[str, ...]:
    words = found.quality.words
    optional = [column for name, (column, _) in OPTIONAL.items() if name in found.objectives]
    return (
        "trial", "state", "rung", "engine", words, "change", "p50 ms", "of reference", "size",
        *optional, f"test {words}", "settings that changed",
    )  # fmt: skip


def front(searched: Searched) -> Table:
    """The Pareto front, and the controls beside it."""
    found = searched.found
    numbers = [*found.front, *(number for number in found.control if number not in found.front)]
    trials = [trial for number in numbers if (trial := found.trial(number))]
    words = found.quality.words
    notes = (
        f"p50 of the reference, {_reference(found)} in ONNX Runtime float32: "
        f"{units.milliseconds(found.reference_ms)} ms.",
        f"{_turns(trials)}; p50 is that share of the reference's p50.",
        f"{words[0].upper()}{words[1:]} is on validation images, change in points against "
        f"{found.trained_words}.",
    )
    rows = tuple(_cells(trial, searched) for trial in trials)
    caption = f"Pareto front and controls, {units.images(found.batch_size)} per call"
    return Table("Pareto front", caption, _columns(found), rows, notes if rows else ())


def _reference(found: Found) -> str:
    """Which network all engines are timed beside."""
    count = found.trained_networks
    return "the trained network" if count < 2 else f"the first of {count} trained networks"


def _turns(trials: Sequence[Trial]) -> str:
    """How engines were timed beside the reference: see stages/measurement/turns.py."""
    engines = {EngineName.parse(each.last.engine).backend for each in trials if each.last}
    if all(ENGINES[backend].device == "cpu" for backend in engines):
        return "Every engine was timed in turns with it"
    return (
        "Engines on the CPU were timed in turns with it, those on a GPU right after it: what slows "
        "the machine in between is in their ratio"
    )


def everything(searched: Searched) -> Table:
    """Every trial."""
    rows = tuple(_cells(trial, searched) for trial in searched.found.trials)
    columns = _columns(searched.found)
    return Table("Trials", "Every trial, at its last rung", columns, rows)


def knobs(searched: Searched) -> Table:
    """What each knob is worth, for each objective."""
    found = searched.found.importances
    names = dict.fromkeys(name for shares in found.values() for name in shares)
    ranked = sorted(names, key=lambda name: -sum(shares[name] for shares in found.values()))
    rows = tuple(
        (
            name,
            *(
                f"{100 * shares[name]:.1f}" if searched.found.varied(name) else CONSTANT
                for shares in found.values()
            ),
        )
        for name in ranked
    )
    caption = "Share of what varied between trials that each knob explains, in %"
    return Table("Knobs", caption, ("what", *found), rows)


def _cells(trial: Trial, searched: Searched) -> tuple[str, ...]:
    found, result = searched.found, trial.last
    yardstick = found.yardstick
    values = _values(trial, searched)
    if result is None or yardstick is None:
        unknown = [units.UNKNOWN] * (len(_columns(found)) - 3)
        return (str(trial.number), trial.state, *unknown, trial.reason or values)
    doubt = "" if result.latency.stable else " UNSTABLE"
    return (
        str(trial.number),
        _state(trial, searched),
        f"{result.rung}/{found.top}",
        f"{result.engine}{f', {result.threads} threads' if result.threads > 1 else ''}",
        units.percent(result.top1),
        units.points(-yardstick.loss_points(result)),
        units.milliseconds(yardstick.p50_ms(result)),
        f"{result.latency.ratio:.3f}{doubt}",
        units.size(result.size_bytes),
        *(cell(result) for name, (_, cell) in OPTIONAL.items() if name in found.objectives),
        units.percent(trial.tested.top1 if trial.tested else None),
        trial.reason or values,
    )


def _values(trial: Trial, searched: Searched) -> str:
    """Those that the line as it is set does not have, and that the rung it is at reads."""
    found = searched.found
    given = next((each.values for each in found.controls if each.kind == "as_set"), {})
    unread: set[str] = set()
    if trial.last:
        own, share = settings_of(searched.settings, trial.in_effect), found.rungs[trial.last.rung]
        unread = rungs.unread(own, share, searched.settings, trial.values)
    changed = {
        name: value
        for name, value in trial.values.items()
        if name not in unread and (name not in given or value != given[name])
    }
    text = ", ".join(f"{name} {value}" for name, value in units.spelled(changed).items())
    text = text or "the line as it is set"
    return f"{text}: removes no channel" if trial.unpruned else text


def _state(trial: Trial, searched: Searched) -> str:
    """ "front", "as trial 0", "misses max_p50_ms", "stopped, misses max_p50_ms", or the state."""
    found: Found = searched.found
    if trial.number in found.front:
        return "front"
    missed = results.missed(trial, found, searched.settings)
    misses = f"misses {', '.join(each.budget for each in missed)}" if missed else ""
    if trial.state == "complete":
        same = found.is_same_as(trial)
        return misses or (f"as trial {same.number}" if same else "beaten")
    return f"stopped, {misses}" if trial.state == "stopped" and misses else trial.state
