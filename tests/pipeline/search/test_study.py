from __future__ import annotations

import sys
from pathlib import Path

import pytest
import sqlalchemy
from arithmetic import Arithmetic, driver

from stages.errors import SettingsError

CAN_QUOTE = tuple(map(int, sqlalchemy.__version__.split(".")[:2])) >= (2, 1)


def searched(folder: Path) -> None:
    folder.mkdir()
    driver(folder, Arithmetic(), "search.trials=1").run()


def test_the_file_of_the_trials_is_in_the_folder_whatever_that_is_called(tmp_path):
    searched(tmp_path / "50%20 é#")
    assert (tmp_path / "50%20 é#/study.db").stat().st_size
    assert [each.name for each in tmp_path.iterdir()] == ["50%20 é#"]


def test_so_it_is_behind_a_question_mark_or_the_folder_is_refused(tmp_path):
    """No address of a release before 2.1 of SQLAlchemy, the newest for Python 3.10, holds one."""
    if CAN_QUOTE:
        searched(tmp_path / "a?b")
        assert (tmp_path / "a?b/study.db").stat().st_size
    else:
        with pytest.raises(
            SettingsError, match=r"cannot open '.*/a\?b/study\.db', for a character"
        ):
            searched(tmp_path / "a?b")
    assert [each.name for each in tmp_path.iterdir()] == ["a?b"]


def test_rungs_are_in_the_order_of_their_numbers_and_not_of_their_letters(tmp_path):
    shares = [round(0.05 * number, 2) for number in range(1, 12)] + [1.0]
    search = driver(tmp_path, Arithmetic(), "search.trials=1", f"search.rungs={shares}")
    search.run()
    (trial,) = search.study.trials()
    assert [each.rung for each in trial.rungs] == list(range(12))
    assert trial.state == "complete"


def test_of_few_trials_nothing_is_said_of_the_knobs_without_what_would_tell(tmp_path, monkeypatch):
    """Which takes most of a second to import."""
    monkeypatch.setitem(sys.modules, "optuna.importance", None)
    search = driver(tmp_path, Arithmetic(), "search.trials=1")
    search.run()
    assert set(map(str, search.study.importances())) == {"{}"}
