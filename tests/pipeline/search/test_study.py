from __future__ import annotations

import pytest
from arithmetic import Arithmetic, driver


@pytest.mark.parametrize("name", ["a?b", "50%20 é#"])
def test_the_file_of_the_trials_is_in_the_folder_whatever_that_is_called(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    search = driver(folder, Arithmetic(), "search.trials=1")
    search.run()
    assert (folder / "study.db").stat().st_size
    assert [each.name for each in tmp_path.iterdir()] == [name]


def test_rungs_are_in_the_order_of_their_numbers_and_not_of_their_letters(tmp_path):
    shares = [round(0.05 * number, 2) for number in range(1, 12)] + [1.0]
    search = driver(tmp_path, Arithmetic(), "search.trials=1", f"search.rungs={shares}")
    search.run()
    (trial,) = search.study.trials()
    assert [each.rung for each in trial.rungs] == list(range(12))
    assert trial.state == "complete"
