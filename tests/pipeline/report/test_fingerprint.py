from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import grimp
import pytest

from pipeline import report as reports
from pipeline.report import fingerprint, html
from stages.engines.tensorrt import kernel_names
from stages.numerics import proportions
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


def test_a_page_that_is_asked_for_is_drawn_even_where_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "benchmark").mkdir()
    reports.write(report_of(), tmp_path)
    (tmp_path / "benchmark" / "changed.npz").write_text("broken")
    page = reports.render(report_of(), "html", tmp_path)
    assert "changed.npz of the benchmark cannot be read" in page


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
    covered, room = set(fingerprint.sources()), Path(fingerprint.__file__).parent
    beside = {each for each in room.rglob("*.*") if "__pycache__" not in each.parts}
    assert beside - covered == {room / "report.schema.json"}
    graph = grimp.build_graph("pipeline", "stages", exclude_type_checking_imports=True)
    imported = {html.__name__}.union(graph.find_upstream_modules(html.__name__))
    assert {proportions.__name__, kernel_names.__name__} < imported
    assert {Path(str(find_spec(module).origin)) for module in imported} <= covered


@pytest.mark.parametrize("format", ["md", "html"])
def test_a_file_whose_words_were_edited_is_drawn_again(tmp_path: Path, format: str) -> None:
    reports.write(report_of(), tmp_path)
    file = tmp_path / f"report.{format}"
    drawn = file.read_bytes()
    for edited in (drawn.replace(b"accuracy", b"accurucy"), drawn + b"more\n", b"more\n" + drawn):
        file.write_bytes(edited)
        reports.write(report_of(), tmp_path)
        assert file.read_bytes() == drawn
