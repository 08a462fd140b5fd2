from __future__ import annotations

import io
import json
import re
from typing import Any

import pytest
from rich.console import Console

from pipeline.comparison import compare, render, table
from stages.errors import SettingsError
from tests.pipeline.comparison.samples import run, unlike


@pytest.fixture
def found() -> dict[str, Any]:
    after = run("b[i]", litert_int8=0.9)
    after.summary["settings"]["prune"]["ratio"] = 0.25
    after.summary["environment"]["packages"]["onnxruntime"] = "2.0"
    return compare(run("a|b"), after)


def drawn(found: dict[str, Any], width: int = 150) -> str:
    out = io.StringIO()
    Console(file=out, width=width, highlight=False).print(table(found))
    return out.getvalue()


def test_the_terminal_shows_both_runs_their_differences_and_the_causes(
    found: dict[str, Any],
) -> None:
    text = drawn(found)
    assert "A: a|b (2026-07-01T10:00:00+00:00, digits, engine litert.int8)" in text
    assert "B: b[i] (" in text
    for title in ("Latency", "Accuracy", "Size and parameters", "Settings that differ"):
        assert f"\n{title}\n" in text
    assert re.search(r"prune.ratio +0.5 +0.25", text)
    assert re.search(r"packages.onnxruntime +1.31.1 +2.0", text)
    assert "warning: Versions differ" in text
    assert "Conditions that differ" not in text
    assert text.rstrip().endswith(".")


@pytest.mark.parametrize("width", [20, 60, 100])
def test_a_narrow_terminal_is_no_error(found: dict[str, Any], width: int) -> None:
    assert max(map(len, drawn(found, width).splitlines())) <= width


def test_markdown_escapes_what_comes_from_the_runs(found: dict[str, Any]) -> None:
    text = render(found, "md")
    assert text.startswith("# Comparison\n\n**litert.int8: faster by 10 % (")
    assert "- A: a\\|b (" in text
    assert "| prune.ratio | 0.5 | 0.25 |" in text
    assert "- Warning: Versions differ" in text


def test_json_is_the_comparison_itself(found: dict[str, Any]) -> None:
    assert json.loads(render(found, "json")) == found
    assert found["settings"] == {"prune.ratio": ["0.5", "0.25"]}
    assert [each["name"] for each in found["runs"]] == ["a|b", "b[i]"]


def test_an_unknown_format_is_refused(found: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="'pdf', expected one of: md, json"):
        render(found, "pdf")


def test_how_many_intervals_would_differ_by_chance_is_said(found: dict[str, Any]) -> None:
    assert "Of 14 intervals in this comparison about 1 would" in drawn(found)


def test_what_the_machine_changed_is_said_or_that_it_is_not_known() -> None:
    before = unlike(run())
    before.summary["stages"]["train"]["parameters"] -= 1
    known = drawn(compare(before, run(baseline=1.1)))
    assert "By an unchanged network the machine took up to 1" in known
    unknown = drawn(compare(unlike(run()), run()))
    assert "what the machine itself changed is not known" in unknown


def test_without_windows_no_bootstrap_is_claimed() -> None:
    before, after = run(), run()
    for engine in before.summary["engines"].values():
        for row in engine["latency"]:
            del row["window_p50_ms"]
    assert "bootstrap" not in drawn(compare(before, after))
