from __future__ import annotations

from pathlib import Path

import numpy as np

from stages.artifacts import archives


def test_the_arrays_of_the_only_output_keep_their_names() -> None:
    assert archives.of_outputs({"": {"task": 1, "names": 2}}) == {"task": 1, "names": 2}


def test_what_outputs_have_is_told_apart_whatever_they_are_called(tmp_path: Path) -> None:
    given = {"file": {"task": 1}, "task": {"task": 2, "names": 3}, "Task": {"task": 4}}
    arrays = {name: np.array(each) for name, each in archives.of_outputs(given).items()}
    np.savez(tmp_path / "arrays.npz", **arrays)  # type: ignore[arg-type]
    with np.load(tmp_path / "arrays.npz") as stored:
        found = archives.by_output({name: int(stored[name]) for name in stored.files})
    assert found == given
