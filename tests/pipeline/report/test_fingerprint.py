from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import report as reports
from pipeline.report import fingerprint
from stages.engines import registry as engine_registry
from stages.numerics import proportions
from stages.results import base
from stages.tasks import registry
from tests.pipeline.records import records, report_of


def test_it_does_not_tell_a_run_from_its_repetition_that_had_nothing_to_do() -> None:
    ran = report_of(records(), dict.fromkeys(("train", "benchmark"), "ran"))
    assert fingerprint.of(ran) == fingerprint.of(report_of())


def test_it_changes_with_any_number() -> None:
    found = records()
    before = fingerprint.of(report_of(found))
    found["benchmark"]["measurements"]["engines"][0]["latency"][0]["p99_ms"] += 1e-6
    assert fingerprint.of(report_of(found)) != before


def test_a_file_that_is_missing_or_no_page_is_not_current(tmp_path: Path) -> None:
    digest, file = fingerprint.of(report_of()), tmp_path / "report.html"
    assert not fingerprint.is_current(file, digest)
    for content in (b"", b"<!doctype html>", b"\xff\xfe\x00"):
        file.write_bytes(content)
        assert not fingerprint.is_current(file, digest)


@pytest.mark.parametrize("format", ["md", "html"])
def test_a_file_is_drawn_again_only_for_another_report(tmp_path: Path, format: str) -> None:
    found = records()
    ran = dict.fromkeys(("train", "benchmark"), "ran")
    reports.write(report_of(found, ran), tmp_path)
    file = tmp_path / f"report.{format}"
    first = file.stat()
    reports.write(report_of(found), tmp_path)
    assert file.stat().st_ino == first.st_ino
    found["benchmark"]["measurements"]["engines"][0]["latency"][0]["p50_ms"] *= 2
    reports.write(report_of(found), tmp_path)
    assert file.stat().st_ino != first.st_ino
    assert fingerprint.is_current(file, fingerprint.of(report_of(found)))


def test_a_page_of_just_this_report_is_shown_as_it_is(tmp_path: Path) -> None:
    drawn = fingerprint.signed("<p>drawn before</p>\n", fingerprint.of(report_of()))
    (tmp_path / "report.html").write_text(drawn)
    assert reports.render(report_of(), "html", tmp_path) == drawn


def test_a_file_that_was_cut_short_is_drawn_again(tmp_path: Path) -> None:
    _, text, _ = reports.write(report_of(), tmp_path)
    whole = text.read_bytes()
    text.write_bytes(whole[: len(whole) // 2])
    reports.write(report_of(), tmp_path)
    assert text.read_bytes() == whole


def test_it_changes_once_figures_can_be_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    report = report_of()
    with_figures = fingerprint.of(report)
    monkeypatch.setattr(fingerprint, "can_draw", lambda: False)
    assert fingerprint.of(report) != with_figures


def test_it_covers_everything_that_the_page_is_made_by() -> None:
    covered, room = set(fingerprint.sources()), Path(fingerprint.__file__).parents[1]
    made_by = [each for name in ("report", "results") for each in (room / name).rglob("*.*")]
    of_code = {each for each in made_by if "__pycache__" not in each.parts}
    assert {each for each in of_code if each.suffix != ".json"} <= covered
    for module in (registry, engine_registry, base, proportions):
        assert Path(module.__file__) in covered


@pytest.mark.parametrize("format", ["md", "html"])
def test_a_file_whose_words_were_edited_is_drawn_again(tmp_path: Path, format: str) -> None:
    reports.write(report_of(), tmp_path)
    file = tmp_path / f"report.{format}"
    drawn = file.read_bytes()
    for edited in (drawn.replace(b"accuracy", b"accurucy"), drawn + b"more\n", b"more\n" + drawn):
        file.write_bytes(edited)
        reports.write(report_of(), tmp_path)
        assert file.read_bytes() == drawn
