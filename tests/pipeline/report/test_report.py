from __future__ import annotations

import io
import json
import sys
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
from pipeline.results import model
from pipeline.results.model import Report
from stages.errors import ReportError, SettingsError
from stages.results.machine import MachineFacts
from tests.pipeline.records import ENGINES, LINE, records, report_of
from tests.pipeline.report.full_run import full_report

PUBLISHED = Path(str(files("pipeline.report").joinpath("report.schema.json")))
WRITE_SCHEMA = (
    "python -c 'from pipeline.report import schema; print(schema())' "
    "> pipeline/report/report.schema.json"
)
VERSION_1 = Path(__file__).with_name("report-v1.schema.json")
"""What version 0.1 promised."""

SCHEMAS = {name: json.loads(file.read_text()) for name, file in
           (("published", PUBLISHED), ("version 1", VERSION_1))}  # fmt: skip


def validate(content: Any) -> None:
    for schema in SCHEMAS.values():
        jsonschema.Draft202012Validator(schema).validate(content)


def as_json(report: Report) -> Any:
    return json.loads(reports.render(report, "json"))


@pytest.fixture(scope="module")
def report() -> Report:
    return report_of(records(), {"benchmark": "ran"})


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_schema_is_itself_valid(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMAS[name])


def test_the_published_schema_is_generated_from_the_types() -> None:
    assert PUBLISHED.read_text() == reports.schema() + "\n", f"write it anew: {WRITE_SCHEMA}"


def test_what_a_program_must_know_of_a_value_is_in_the_schema() -> None:
    described = json.dumps(SCHEMAS["published"])
    for words in ("not measured", "timed in turns", "95 % interval", "Why it did not run"):
        assert words in described, words


def test_an_assembled_report_satisfies_the_schema(report: Report) -> None:
    validate(as_json(report))


def test_a_report_with_every_optional_fact_satisfies_the_schema() -> None:
    validate(as_json(full_report()))


@pytest.mark.parametrize("name", SCHEMAS)
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
    report: Report, damage: Callable[[dict[str, Any]], object], name: str
) -> None:
    content = as_json(report)
    damage(content)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SCHEMAS[name]).validate(content)


def test_an_unknown_format_is_refused_with_the_known_ones(report: Report) -> None:
    with pytest.raises(SettingsError, match="'pdf', expected one of: md, html, json, csv"):
        reports.render(report, "pdf")


def test_the_json_is_the_report(report: Report) -> None:
    content = as_json(report)
    assert len(content.pop("seal")) == 64
    assert content == report.model_dump(mode="json")
    assert model.read(reports.render(report, "json").encode()) == report


def test_a_report_that_was_changed_is_refused_but_one_without_a_seal_is_read(
    report: Report,
) -> None:
    raw = reports.render(report, "json").encode()
    with pytest.raises(ValueError, match="changed after it was written"):
        model.read(raw.replace(b'"p50_ms": 0.0', b'"p50_ms": 0.00'))
    content = json.loads(raw)
    del content["seal"]
    assert model.read(json.dumps(content).encode()) == report


def test_without_jinja2_all_but_the_page_is_written(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert [file.name for file in reports.write(report, tmp_path)] == ["report.json", "report.md"]
    with pytest.raises(ReportError, match="the HTML page needs the package jinja2"):
        reports.render(report, "html")


def test_a_value_that_is_not_finite_is_null(report: Report) -> None:
    hot = report.model_copy(update={"environment": MachineFacts(load=float("nan"))})
    assert as_json(hot)["environment"]["load"] is None


def test_writing_leaves_three_files_that_others_can_read_and_nothing_else(
    report: Report, tmp_path: Path
) -> None:
    written = reports.write(report, tmp_path)
    assert [file.name for file in written] == ["report.json", "report.md", "report.html"]
    assert sorted(tmp_path.iterdir()) == sorted(written)
    assert json.loads(written[0].read_text()) == as_json(report)
    assert all(file.stat().st_mode & 0o777 == 0o644 for file in written)


def test_a_report_that_cannot_be_written_leaves_the_old_one_whole(
    report: Report, tmp_path: Path
) -> None:
    reports.write(report, tmp_path)
    old = (tmp_path / "report.json").read_text()
    broken = report.model_copy(update={"environment": MachineFacts(load=object())})
    with pytest.raises(ValueError, match="Unable to serialize"):
        reports.write(broken, tmp_path)
    assert (tmp_path / "report.json").read_text() == old
    assert len(list(tmp_path.iterdir())) == 3


def test_a_failing_replacement_removes_its_temporary_file(report: Report, tmp_path: Path) -> None:
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
    report = report_of(found)
    validate(as_json(report))
    for format in ("md", "csv"):
        assert reports.render(report, format)
    for width in (20, 80):
        Console(file=io.StringIO(), width=width).print(reports.table(report))


@settings(max_examples=12, deadline=None, derandomize=True)
@given(partial_records())
def test_any_part_of_a_run_can_be_a_page(found: dict[str, Any]) -> None:
    page, _, signature = reports.render(report_of(found), "html").partition("</html>\n")
    assert page.startswith("<!doctype html>")
    assert signature.endswith(" -->\n")


def test_a_page_that_shows_just_this_report_is_not_drawn_again(
    report: Report, tmp_path: Path
) -> None:
    page = reports.write(report, tmp_path)[2]
    before = page.stat()
    reports.write(report_of(records(), {"train": "ran"}), tmp_path)
    assert page.stat().st_ino == before.st_ino


def test_a_page_of_another_run_is_drawn_again(report: Report, tmp_path: Path) -> None:
    page = reports.write(report, tmp_path)[2]
    later = records()
    later["benchmark"]["started_at"] = "2026-07-02T10:00:00+00:00"
    reports.write(report_of(later), tmp_path)
    assert "2026-07-02 10:00" in page.read_text()
