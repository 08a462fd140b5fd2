from __future__ import annotations

import io
import json
import re

import pytest
from rich.console import Console

from pipeline.comparison import Comparison, Run, compare, render, table
from pipeline.results.summary import summarize
from stages.errors import SettingsError
from tests.pipeline.comparison.samples import altered, run, unlike
from tests.pipeline.records import report_of


@pytest.fixture
def found() -> Comparison:
    after = altered(run("b[i]", litert_int8=0.9), "settings", "prune", "ratio", to=0.25)
    after = altered(after, "environment", "packages", "onnxruntime", to="2.0")
    return compare(run("a|b"), after)


def drawn(found: Comparison, width: int = 150) -> str:
    out = io.StringIO()
    Console(file=out, width=width, highlight=False).print(table(found))
    return out.getvalue()


def test_the_terminal_shows_both_runs_their_differences_and_the_causes(
    found: Comparison,
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
def test_a_narrow_terminal_is_no_error(found: Comparison, width: int) -> None:
    assert max(map(len, drawn(found, width).splitlines())) <= width


def test_markdown_escapes_what_comes_from_the_runs(found: Comparison) -> None:
    text = render(found, "md")
    assert text.startswith("# Comparison\n\n**litert.int8: faster by 10 % (")
    assert "- A: a\\|b (" in text
    assert "| prune.ratio | 0.5 | 0.25 |" in text
    assert "- Warning: Versions differ" in text


def test_json_is_the_comparison_itself(found: Comparison) -> None:
    content = json.loads(render(found, "json"))
    assert Comparison.model_validate(content).runs == found.runs
    assert content["settings"] == {"prune.ratio": ["0.5", "0.25"]}
    assert [each["name"] for each in content["runs"]] == ["a|b", "b[i]"]


def test_an_unknown_format_is_refused(found: Comparison) -> None:
    with pytest.raises(SettingsError, match="'pdf', expected one of: md, json"):
        render(found, "pdf")


def test_how_many_intervals_would_differ_by_chance_is_said(found: Comparison) -> None:
    assert "Of 14 intervals in this comparison about 1 would" in drawn(found)


def test_what_the_machine_changed_is_said_or_that_it_is_not_known() -> None:
    retrained = altered(unlike(run()), "stages", "train", "parameters", to=421_642)
    known = drawn(compare(retrained, run(baseline=1.1)))
    assert "By an unchanged network the machine took up to 1" in known
    unknown = drawn(compare(unlike(run()), run()))
    assert "what the machine itself changed is not known" in unknown


def test_without_windows_no_bootstrap_is_claimed() -> None:
    bare = Run("bare", summarize(report_of()))
    assert "bootstrap" not in drawn(compare(bare, run()))
