from __future__ import annotations

import io
import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from pipeline import report as reports
from pipeline.results.assemble import assemble
from stages.errors import SettingsError
from tests.pipeline.records import ENGINES, LINE, records

SCHEMA = json.loads(files("pipeline.report").joinpath("report.schema.json").read_text())


def validate(report: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(reports.render(report, "json")))


@pytest.fixture
def report() -> dict[str, Any]:
    return assemble(records(), {"benchmark": "ran"})


def test_the_schema_is_itself_valid() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_an_assembled_report_satisfies_the_schema(report: dict[str, Any]) -> None:
    validate(report)


@pytest.mark.parametrize(
    "damage",
    [
        lambda report: report.pop("engines"),
        lambda report: report.update(schema_version=2),
        lambda report: report["stages"][0].update(state="skipped"),
        lambda report: report["stages"][0]["accuracy"].update(top1=99.2),
        lambda report: report["stages"][0]["model"].pop("sha256"),
        lambda report: report["stages"][0]["latency"][0].pop("p99_ms"),
        lambda report: report["engines"][0].update(sha256="abc"),
        lambda report: report["engines"][0].update(state="failed"),
    ],
)
def test_a_broken_report_is_refused_by_the_schema(
    report: dict[str, Any], damage: Callable[[dict[str, Any]], object]
) -> None:
    damage(report)
    with pytest.raises(jsonschema.ValidationError):
        validate(report)


def test_an_unknown_format_is_refused_with_the_known_ones(report: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="'pdf', expected one of: md, html, json, csv"):
        reports.render(report, "pdf")


def test_the_json_is_the_report(report: dict[str, Any]) -> None:
    assert json.loads(reports.render(report, "json")) == report


def test_writing_leaves_three_files_that_others_can_read_and_nothing_else(
    report: dict[str, Any], tmp_path: Path
) -> None:
    written = reports.write(report, tmp_path)
    assert [file.name for file in written] == ["report.json", "report.md", "report.html"]
    assert sorted(tmp_path.iterdir()) == sorted(written)
    assert json.loads(written[0].read_text()) == report
    assert all(file.stat().st_mode & 0o777 == 0o644 for file in written)


def test_a_report_that_cannot_be_written_leaves_the_old_one_whole(
    report: dict[str, Any], tmp_path: Path
) -> None:
    reports.write(report, tmp_path)
    old = (tmp_path / "report.json").read_text()
    with pytest.raises(ValueError, match="JSON compliant"):
        reports.write({**report, "environment": {"load": float("nan")}}, tmp_path)
    assert (tmp_path / "report.json").read_text() == old
    assert len(list(tmp_path.iterdir())) == 3


def test_a_failing_replacement_removes_its_temporary_file(
    report: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "report.json").mkdir()
    with pytest.raises(OSError, match=r"report\.json"):
        reports.write(report, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["report.json"]


OPTIONAL = ("accuracy", "latency", "model", "details", "engines", "dataset")
ENGINE_STATES = st.lists(
    st.tuples(st.sampled_from(ENGINES), st.sampled_from(["ran", "built_not_run", "unavailable"])),
    max_size=7,
)


@st.composite
def partial_records(draw: st.DrawFn) -> dict[str, Any]:
    """Some of the stages, some of their measurements, engines in any state."""
    chosen = draw(st.sets(st.sampled_from(LINE), min_size=1))
    found = records(*(stage for stage in LINE if stage in chosen))
    for record in found.values():
        measured = record["measurements"]
        if "engines" in measured:
            measured["engines"] = [
                {**engine, "state": state} for engine, state in draw(ENGINE_STATES)
            ]
        for key in draw(st.sets(st.sampled_from(OPTIONAL))):
            if draw(st.booleans()):
                measured[key] = None
            else:
                measured.pop(key, None)
        if draw(st.booleans()):
            record["inputs"] = {stage: {"other": "0" * 64} for stage in record["inputs"]}
    return found


@settings(max_examples=100, deadline=None, derandomize=True)
@given(partial_records())
def test_any_part_of_a_run_can_be_reported_in_every_format(found: dict[str, Any]) -> None:
    report = assemble(found, {})
    validate(report)
    for format in ("md", "csv"):
        assert reports.render(report, format)
    for width in (20, 80):
        Console(file=io.StringIO(), width=width).print(reports.table(report))


@settings(max_examples=12, deadline=None, derandomize=True)
@given(partial_records())
def test_any_part_of_a_run_can_be_a_page(found: dict[str, Any]) -> None:
    assert reports.render(assemble(found, {}), "html").endswith("</html>\n")


def test_a_page_that_shows_just_this_report_is_not_drawn_again(
    report: dict[str, Any], tmp_path: Path
) -> None:
    page = reports.write(report, tmp_path)[2]
    marked = page.read_text() + "<!-- as it was -->"
    page.write_text(marked)
    reports.write(assemble(records(), {"train": "ran"}), tmp_path)
    assert page.read_text() == marked


def test_a_page_of_another_run_is_drawn_again(report: dict[str, Any], tmp_path: Path) -> None:
    page = reports.write(report, tmp_path)[2]
    later = records()
    later["benchmark"]["started_at"] = "2026-07-02T10:00:00+00:00"
    reports.write(assemble(later, {}), tmp_path)
    assert "2026-07-02 10:00" in page.read_text()
