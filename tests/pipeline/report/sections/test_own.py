from __future__ import annotations

from pipeline.report import html, markdown
from pipeline.report.sections import own
from pipeline.results.model import Report
from stages.results.base import Details
from stages.results.pruning import PruneDetails
from tests.pipeline.records import report_of
from tests.pipeline.report.full_run import full_report


class MyDetails(Details):
    """Of a stage of your own."""

    energy_mj: float


class MyPruneDetails(PruneDetails):
    """Of a pruning that measures more."""

    energy_mj: float


def with_details(details: Details) -> Report:
    """The sample run, whose second stage measured something else."""
    report = report_of()
    train, second, *others = report.stages
    mine = second.model_copy(update={"details": details})
    return report.model_copy(update={"stages": (train, mine, *others)})


def test_what_the_stages_of_this_pipeline_measure_is_shown_by_the_other_sections() -> None:
    assert [table.rows for table in own.tables(full_report())] == [()] * 6


def test_any_json_of_a_stage_of_your_own_is_a_table_of_flattened_names() -> None:
    measured = Details.model_validate({"power": {"watts": 2.5, "rails": ["cpu", "gpu"]}})
    (table,) = [table for table in own.tables(with_details(measured)) if table.rows]
    assert table.title == "Measured by prune"
    assert table.rows == (("power.watts", "2.5"), ("power.rails", "cpu, gpu"))


def test_a_type_of_your_own_is_shown_with_its_fields() -> None:
    (table,) = [t for t in own.tables(with_details(MyDetails(energy_mj=7.5))) if t.rows]
    assert table.rows == (("energy_mj", "7.5"),)


def test_of_a_known_type_with_more_fields_only_those_are_shown() -> None:
    report = with_details(MyPruneDetails(method="l1", energy_mj=7.5))
    (table,) = [table for table in own.tables(report) if table.rows]
    assert table.rows == (("energy_mj", "7.5"),)


def test_markdown_and_page_have_the_table_and_no_section_without_one(sample_page: str) -> None:
    report = with_details(Details.model_validate({"watts": "<b>"}))
    assert "## Measured by prune" in markdown.render(report)
    assert "| watts | &lt;b> |" in markdown.render(report)
    page = html.render(report)
    assert '<h2 id="other-measurements">Other measurements</h2>' in page
    assert "<h3>Measured by prune</h3>" in page
    assert "&lt;b&gt;" in page
    assert "Other measurements" not in sample_page
