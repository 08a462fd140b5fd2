from __future__ import annotations

import io

import pytest
from rich.console import Console

from pipeline.report import table
from pipeline.results.model import Report
from tests.pipeline.records import LINE, changed, records, report_of
from tests.pipeline.report.full_run import full_report

REPORTS = {
    "whole line": report_of(),
    "train only": report_of(records("train")),
    "no benchmark": report_of(records(*LINE[:-1])),
    "old benchmark": report_of(changed(records(), "prune")),
}


def shown(report: Report, width: int) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(table(report))
    return out.getvalue()


@pytest.mark.parametrize("name", REPORTS)
@pytest.mark.parametrize("width", [80, 120])
def test_nothing_is_cut_off(name: str, width: int) -> None:
    text = shown(REPORTS[name], width)
    assert "…" not in text
    assert all(len(line) <= width for line in text.splitlines())
    for cell in ("speed-up", "parameters", "421,642", "5.1 MB", "99.17 %"):
        assert cell in text


def test_a_terminal_of_80_columns_shows_every_engine_and_why_some_did_not_run() -> None:
    text = shown(REPORTS["whole line"], 80)
    assert "tensorrt_rtx int8 (built, not run): no GPU" in text
    assert "tensorrt fp32, fp16, int8 (unavailable): package tensorrt is not installed" in text


def test_square_brackets_in_a_command_are_no_markup() -> None:
    text = shown(REPORTS["whole line"], 120)
    assert "to change that: pip install 'keras-trt-pipeline[gpu]'" in text


def test_the_verdict_comes_last() -> None:
    assert shown(REPORTS["whole line"], 120).rstrip().endswith("5.0x the trained model's.")


def test_a_report_without_engines_has_no_engine_table() -> None:
    assert "images/s" not in shown(REPORTS["train only"], 80)


def test_piped_output_has_no_control_characters() -> None:
    text = shown(REPORTS["whole line"], 80)
    assert all(character.isprintable() or character == "\n" for character in text)


def test_a_terminal_shows_the_parity_checks_that_fail_and_no_others() -> None:
    text = shown(full_report(), 120)
    assert "broken.fp16" in text
    assert "against" in text
    assert "model.fp32.onnx" not in text
    assert "Parity fails in 1 of 3 checks, first in broken.fp16" in text
    assert "against" not in shown(REPORTS["whole line"], 120)
