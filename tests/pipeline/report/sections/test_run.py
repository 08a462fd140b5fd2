from __future__ import annotations

from pipeline.report.sections import run
from tests.pipeline.records import records, report_of


def test_settings_that_stages_share_are_listed_once() -> None:
    rows = run.settings_table(report_of()).rows
    assert [each for each in rows if each[1] == "data.name"] == [("train", "data.name", "digits")]


def test_a_setting_that_differs_in_a_later_stage_is_listed_again() -> None:
    found = records("train", "prune")
    found["prune"]["settings"]["data"]["name"] = "mnist"
    rows = run.settings_table(report_of(found)).rows
    assert ("prune", "data.name", "mnist") in rows
