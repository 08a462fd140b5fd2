"""A comparison as terminal tables, Markdown or JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from pipeline.comparison import describe
from pipeline.report.markdown import plain, section
from pipeline.report.tables import Grid
from pipeline.report.terminal import Drawn
from pipeline.results import units
from stages.errors import SettingsError

Comparison = Mapping[str, Any]

INTERVALS = (
    "Intervals: 95 %, by bootstrap over medians of windows. Of {count} intervals in this "
    "comparison about {chance} would show a difference by chance."
)
LIMITS = (
    "They hold what the machine did within a run, not what changed between the two: engines "
    "that one benchmark times in turns are compared more surely."
)
CONTROL = (
    "By an unchanged network the machine took up to {drift} % more or less time in B; the other "
    "intervals at its batch size are wider by that."
)
NO_CONTROL = (
    "No unchanged network was timed beside others in both runs on the same machine: what the "
    "machine itself changed is not known."
)
PAIRED = "Lost and won count images; p is McNemar's mid-p."
UNPAIRED = "Without the predictions of both runs accuracies are taken as of independent images."

NAMES = {"size_bytes": "size", "multiply_adds": "multiply-adds", "parameters": "parameters"}


def render(found: Comparison, format: str) -> str:
    """The comparison as text: `md` or `json`. Raises SettingsError for others."""
    if format not in RENDERERS:
        known = ", ".join(RENDERERS)
        raise SettingsError(f"unknown format {format!r}, expected one of: {known}")
    return RENDERERS[format](found)


def table(found: Comparison) -> Group:
    """The comparison for a terminal."""
    return Group(*_parts(found))


def _parts(found: Comparison) -> Iterator[RenderableType]:
    yield from (Text(line) for line in _heading(found))
    for grid in _grids(found):
        if grid.rows:
            yield from (Text(), Text(grid.title, style="bold"), Drawn(grid))
            yield from (Text(note, style="dim") for note in grid.notes)
    yield Text()
    yield from (Text(f"warning: {line}", style="yellow") for line in found["warnings"])
    yield from (Text(line, style="bold") for line in found["verdict"])


def _markdown(found: Comparison) -> str:
    lines = ["# Comparison", "", *(f"**{plain(line)}**\n" for line in found["verdict"])]
    lines += [f"- {plain(line)}" for line in _heading(found)]
    lines += [f"- Warning: {plain(line)}" for line in found["warnings"]]
    lines += ["", *(line for grid in _grids(found) for line in section(grid))]
    return "\n".join(lines) + "\n"


def _json(found: Comparison) -> str:
    return json.dumps(found, indent=2, allow_nan=False) + "\n"


def _heading(found: Comparison) -> Iterator[str]:
    for letter, run in zip("AB", found["runs"], strict=True):
        facts = [run["time"], run["dataset"], run["model"]]
        facts.append(f"engine {run['engine']}" if run["engine"] else "no engine")
        yield f"{letter}: {run['name']} ({', '.join(filter(None, facts))})"


def _grids(found: Comparison) -> Iterator[Grid]:
    yield _latency(found)
    yield _accuracy(found)
    yield _sizes(found)
    yield _causes("Settings that differ", found["settings"])
    yield _causes("Versions and machine that differ", found["versions"])
    yield _causes("Conditions that differ", found["conditions"])


def _latency(found: Comparison) -> Grid:
    rows = tuple(
        (
            row["engine"],
            units.count(row["batch_size"]),
            units.count(row["threads"]),
            units.milliseconds(row["before_ms"]),
            units.milliseconds(row["after_ms"]),
            describe.latency(row),
        )
        for row in found["latency"]
    )
    columns = ("engine", "batch", "threads", "p50 ms, A", "p50 ms, B", "difference")
    return Grid("Latency", "B against A", columns, rows, tuple(_latency_notes(found)))


def _latency_notes(found: Comparison) -> Iterator[str]:
    entries = (*found["latency"], *found["accuracy"])
    count = sum(entry["low"] is not None for entry in entries)
    if any(row["low"] is not None for row in found["latency"]):
        yield INTERVALS.format(count=count, chance=round(count / 20))
    yield LIMITS
    drifts = [row["drift"] for row in found["latency"] if row["drift"]]
    yield CONTROL.format(drift=f"{100 * (max(drifts) - 1):.1f}") if drifts else NO_CONTROL


def _accuracy(found: Comparison) -> Grid:
    entries = found["accuracy"]
    rows = tuple(
        (
            row["what"],
            units.percent(row["before"]["top1"]),
            units.percent(row["after"]["top1"]),
            units.count(row["after"]["samples"]),
            describe.accuracy(row),
        )
        for row in entries
    )
    methods = {row["method"] for row in entries}
    notes = ((PAIRED,) if "paired" in methods else ()) + (
        (UNPAIRED,) if "unpaired" in methods else ()
    )
    columns = ("what", "accuracy, A", "accuracy, B", "images", "difference")
    return Grid("Accuracy", "B against A", columns, rows, notes)


def _sizes(found: Comparison) -> Grid:
    rows = tuple(
        (
            f"{row['what']}: {NAMES[row['kind']]}",
            *(_number(row["kind"])(row[side]) for side in ("before", "after")),
            describe.size(row) if row["kind"] == "size_bytes" else _counted(row),
        )
        for row in found["sizes"]
    )
    return Grid("Size and parameters", "B against A", ("what", "A", "B", "difference"), rows)


def _number(kind: str) -> Callable[[float | None], str]:
    return units.size if kind == "size_bytes" else units.count


def _counted(row: Mapping[str, Any]) -> str:
    return describe.size(row, "more", "fewer")


def _causes(title: str, found: Mapping[str, list[str | None]]) -> Grid:
    rows = tuple(
        (name, *(value if value is not None else units.UNKNOWN for value in values))
        for name, values in found.items()
    )
    return Grid(title, "Where A and B differ", ("key", "in A", "in B"), rows)


RENDERERS: dict[str, Callable[[Comparison], str]] = {"md": _markdown, "json": _json}
