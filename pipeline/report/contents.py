"""What the report shows: its sections, in the order of every format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from pipeline.report.sections import (
    answers,
    classes,
    engines,
    latency,
    measures,
    own,
    parity,
    precision,
    pruning,
    quantization,
    run,
    stages,
    training,
)
from pipeline.report.svg import Chart
from pipeline.report.tables import Table
from pipeline.results import comparability, outputs
from pipeline.results.model import Report

if TYPE_CHECKING:
    from pipeline.results.evidence import Evidence

Format = Literal["terminal", "md", "html"]


def no_tables(report: Report) -> Iterable[Table]:
    """Of a section that has none."""
    return ()


def no_charts(report: Report, evidence: Evidence) -> Iterable[Chart]:
    """Of a section that has none."""
    return ()


@dataclass(frozen=True)
class Section:
    """A topic; the page shows it under `title`, with its charts before its tables.

    `name` is what the page's template knows it by. `is_by_output` where it tells of answers, which
    of several outputs has to be told of each.
    """

    name: str
    title: str
    tables: Callable[[Report], Iterable[Table]] = no_tables
    charts: Callable[[Report, Evidence], Iterable[Chart]] = no_charts
    is_by_output: bool = False

    def views(self, report: Report) -> Iterator[tuple[str, Report]]:
        """The reports that it shows: all, as "", then that of each of several outputs."""
        yield "", report
        if self.is_by_output:
            yield from outputs.each(report)


SECTIONS = (
    Section("stages", "The line", stages.tables, stages.charts),
    Section("engines", "Engines", engines.tables, engines.charts),
    Section("measures", "Other metrics", measures.tables, is_by_output=True),
    Section("latency", "Latency", latency.tables, latency.charts),
    Section("classes", "Accuracy by class", classes.tables, classes.charts, is_by_output=True),
    Section("answers", "Answers", charts=answers.charts, is_by_output=True),
    Section("training", "Training", charts=training.charts),
    Section("pruning", "Pruning", pruning.tables, pruning.charts),
    Section("quantization", "Quantization", quantization.tables, quantization.charts),
    Section("parity", "Parity", parity.tables, parity.charts),
    Section("precision", "Precision by layer", precision.tables, precision.charts),
    Section("own", "Other measurements", own.tables),
    Section("terms", "How to read it"),
    Section("run", "How it was made", run.tables),
)


def title(report: Report) -> str:
    """ "mnist_cnn on digits", as far as it is known."""
    known = (report.network, report.dataset.name)
    return " on ".join(filter(None, known)) or "no data set"


def lasting(report: Report) -> Report:
    """For files: without which stages ran just now, or they would differ after every run."""
    ran = tuple(stage.model_copy(update={"state": "ran"}) for stage in report.stages)
    return report.model_copy(update={"stages": ran})


def taken_home(report: Report) -> tuple[str, str] | None:
    """The file of the engine that the run stands for, and the command that takes it home."""
    found = comparability.chosen_engine(report)
    if not found:
        return None
    return f"build/{found[0].file}", "pipeline export --to PATH"


def tables(report: Report, format: Format) -> Iterator[Table]:
    """The tables that a format shows, in order, without empty ones."""
    for section in SECTIONS:
        for output, view in section.views(report):
            yield from tables_of(section, output, view, format)


def tables_of(section: Section, output: str, view: Report, format: Format) -> Iterator[Table]:
    """Those of one of the section's `views`, under the name of its output."""
    for table in section.tables(view):
        if format in table.shown_in and (table.rows or table.not_run):
            yield replace(table, title=named(table.title, output))


def named(title: str, output: str) -> str:
    """ "Classes", "Classes: OUTPUT"."""
    return f"{title}: {output}" if output else title
