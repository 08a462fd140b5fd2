"""A comparison as terminal tables, Markdown or JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from pipeline.comparison import describe
from pipeline.comparison.model import Comparison, Differing, SizeDifference
from pipeline.report.markdown import plain, section
from pipeline.report.tables import Table
from pipeline.report.terminal import Drawn
from pipeline.results import units
from stages.errors import SettingsError

INTERVALS = (
    "Intervals: 95 %, by bootstrap over medians of windows. Of {count} intervals in this "
    "comparison about {chance} would show a difference by chance."
)
MEDIANS = (
    "p50 is the median of the medians of the windows; a report shows that of all calls, which is "
    "another where the windows disagree."
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
METHODS = {
    "paired": "Lost and won count images that only one of the two got right; the intervals are "
    "Newcombe's for paired answers.",
    "unpaired": "Without the predictions of both runs accuracies are taken as of independent "
    "images.",
}

NO_INTERVAL = (
    "No interval: it would take what each engine returned for each test image, which no run keeps. "
    "A report has the interval of each engine against the trained model of its run."
)

NAMES = {"size_bytes": "size", "multiply_adds": "multiply-adds", "parameters": "parameters"}


def render(compared: Comparison, format: str) -> str:
    """The comparison as text: `md` or `json`. Raises SettingsError for others."""
    if format not in RENDERERS:
        known = ", ".join(RENDERERS)
        raise SettingsError(f"unknown format {format!r}, expected one of: {known}")
    return RENDERERS[format](compared)


def table(compared: Comparison) -> Group:
    """The comparison for a terminal."""
    return Group(*_parts(compared))


def _parts(compared: Comparison) -> Iterator[RenderableType]:
    yield from (Text(line) for line in _heading(compared))
    for table in _tables(compared):
        if table.rows:
            yield from (Text(), Text(table.title, style="bold"), Drawn(table))
            yield from (Text(note, style="dim") for note in table.notes)
    yield Text()
    yield from (Text(f"warning: {line}", style="yellow") for line in compared.warnings)
    yield from (Text(line, style="bold") for line in compared.verdict)


def _markdown(compared: Comparison) -> str:
    lines = ["# Comparison", "", *(f"**{plain(line)}**\n" for line in compared.verdict)]
    lines += [f"- {plain(line)}" for line in _heading(compared)]
    lines += [f"- Warning: {plain(line)}" for line in compared.warnings]
    lines += ["", *(line for table in _tables(compared) for line in section(table))]
    return "\n".join(lines) + "\n"


def _json(compared: Comparison) -> str:
    return json.dumps(compared.model_dump(mode="json"), indent=2, allow_nan=False) + "\n"


def _heading(compared: Comparison) -> Iterator[str]:
    for letter, run in zip("AB", compared.runs, strict=True):
        engine = f"engine {run.engine}" if run.engine else "no engine"
        facts = filter(None, (run.time, run.dataset, run.model, engine))
        yield f"{letter}: {run.name} ({', '.join(facts)})"


def _tables(compared: Comparison) -> Iterator[Table]:
    yield _latency(compared)
    yield _accuracy(compared)
    yield _scores(compared)
    yield _sizes(compared)
    yield _differing("Settings that differ", compared.settings)
    yield _differing("Versions and machine that differ", compared.versions)
    yield _differing("Conditions that differ", compared.conditions)


def _latency(compared: Comparison) -> Table:
    rows = tuple(
        (
            row.engine,
            units.count(row.batch_size),
            units.count(row.threads),
            units.milliseconds(row.before_ms),
            units.milliseconds(row.after_ms),
            describe.latency(row),
        )
        for row in compared.latency
    )
    columns = ("engine", "batch", "threads", "p50 ms, A", "p50 ms, B", "difference")
    return Table("Latency", "B against A", columns, rows, tuple(_latency_notes(compared)))


def _latency_notes(compared: Comparison) -> Iterator[str]:
    intervals = sum(row.low is not None for row in compared.latency)
    if intervals:
        count = intervals + len(compared.accuracy)
        yield INTERVALS.format(count=count, chance=round(count / 20))
    yield MEDIANS
    yield LIMITS
    drifts = [row.drift for row in compared.latency if row.drift]
    yield CONTROL.format(drift=f"{100 * (max(drifts) - 1):.1f}") if drifts else NO_CONTROL


def _accuracy(compared: Comparison) -> Table:
    rows = tuple(
        (
            row.what,
            units.percent(row.before.top1),
            units.percent(row.after.top1),
            units.count(row.after.samples),
            describe.accuracy(row),
        )
        for row in compared.accuracy
    )
    methods = {row.method for row in compared.accuracy}
    notes = tuple(note for method, note in METHODS.items() if method in methods)
    columns = ("what", "accuracy, A", "accuracy, B", "images", "difference")
    return Table("Accuracy", "B against A", columns, rows, notes)


def _scores(compared: Comparison) -> Table:
    rows = tuple(
        (
            f"{row.what}: {describe.words_of(row)}",
            units.percent(row.before),
            units.percent(row.after),
            units.count(row.samples),
            describe.score(row),
        )
        for row in compared.scores
    )
    columns = ("what", "A", "B", "images", "difference")
    return Table("Quality", "B against A", columns, rows, (NO_INTERVAL,))


def _sizes(compared: Comparison) -> Table:
    rows = tuple(_size_cells(row) for row in compared.sizes)
    return Table("Size and parameters", "B against A", ("what", "A", "B", "difference"), rows)


def _size_cells(row: SizeDifference) -> tuple[str, ...]:
    name = f"{row.what}: {NAMES[row.kind]}"
    if row.kind == "size_bytes":
        return name, units.size(row.before), units.size(row.after), describe.size(row)
    difference = describe.size(row, "more", "fewer")
    return name, units.count(row.before), units.count(row.after), difference


def _differing(title: str, values: Differing) -> Table:
    rows = tuple(
        (name, *(units.UNKNOWN if value is None else value for value in pair))
        for name, pair in values.items()
    )
    return Table(title, "Where A and B differ", ("key", "in A", "in B"), rows)


RENDERERS: dict[str, Callable[[Comparison], str]] = {"md": _markdown, "json": _json}
