"""How the run was made: data, machine and settings."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.report.tables import Table, fact_table
from pipeline.results import units
from pipeline.results.model import Report
from stages.results.conversion import ConvertDetails
from stages.results.engines import BenchmarkDetails


def tables(report: Report) -> Iterator[Table]:
    """Data set, machine state, machine and settings."""
    benchmark = report.details(BenchmarkDetails)
    state = benchmark.conditions if benchmark else None
    conditions = state.model_dump() if state else {}
    convert = report.details(ConvertDetails)
    carried = convert.carried if convert else None
    along = {
        "carried_test_images": carried and carried.images,
        "carried_size": carried and units.size(carried.size_bytes),
    }
    yield fact_table("Data set", "Images by use", {**report.dataset.model_dump(), **along})
    yield fact_table("Conditions", "While the engines were timed", conditions)
    facts = report.environment.model_dump()
    yield fact_table("Environment", "Where the last stage ran", facts, "always")
    yield settings_table(report)


def settings_table(report: Report) -> Table:
    """The settings of every stage; one that an earlier stage shares is not repeated."""
    seen: set[tuple[str, str]] = set()
    rows = []
    for stage in report.stages:
        for setting in units.spelled(stage.settings).items():
            if setting not in seen:
                seen.add(setting)
                rows.append((stage.stage, *setting))
    return Table(
        "Settings",
        "As each stage saw them",
        ("stage", "key", "value"),
        tuple(rows),
        shown_in=("html",),
        folded="always",
        is_facts=True,
    )
