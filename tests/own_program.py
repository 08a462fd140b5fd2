"""predict.py of a bundle beside `pipeline predict`."""

from __future__ import annotations

import csv
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from pipeline.cli import pipeline as command_line


def run(bundle: Path, *words: str | Path) -> None:
    """predict.py in this process; raises SystemExit where it ends with a line."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["predict.py", *map(str, words)])
        runpy.run_path(str(bundle / "predict.py"), run_name="__main__")


def says_the_same(bundle: Path, file: Path, folder: Path) -> list[dict[str, str]]:
    """Ask both of what `file` holds, with their answers in the new `folder`; their rows, but for
    the names of masks, which hold the same classes."""
    words = ["predict", str(bundle), str(file), "--batch-size", "1", "--to", str(folder / "ours")]
    done = CliRunner().invoke(command_line, words)  # one by one, as the program does
    assert done.exit_code == 0, done.output
    run(bundle, "--to", folder / "its", file)
    ours, its = _rows(folder / "ours"), _rows(folder / "its")
    for row, other in zip(ours, its, strict=True):
        for column in [each for each in row if each.endswith("mask_file")]:
            masks = (folder / "ours" / row.pop(column), folder / "its" / other.pop(column))
            np.testing.assert_array_equal(*(np.asarray(Image.open(mask)) for mask in masks))
        assert row == other
    return ours


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "answers.csv").open(encoding="utf-8", newline="") as table:
        return list(csv.DictReader(table))
