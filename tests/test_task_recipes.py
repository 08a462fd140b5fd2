"""The recipes of docs/tasks.md for several outputs and a metric of one's own."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline import config
from stages import train
from stages.artifacts.signature import Signature
from stages.settings import TrainStage
from tests.conftest import ROOT
from tests.test_data_recipes import BLOCK

PAGE = (ROOT / "docs/tasks.md").read_text()
COMMAND = re.compile(r"pipeline run all (--set data\.source=parts:load.*?)```", re.DOTALL)


@pytest.fixture(autouse=True)
def recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, text in BLOCK.findall(PAGE):
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    yield
    for name in ("parts", "dots"):
        sys.modules.pop(name, None)


def test_the_network_with_two_outputs_learns_both(tmp_path: Path) -> None:
    (command,) = COMMAND.findall(PAGE)
    words = [word for word in shlex.split(command.replace("\\\n", " ")) if word != "--set"]
    settings = TrainStage.of(config.load(overrides=[*words, "train.epochs=6"]))
    assert isinstance(settings, TrainStage)
    out = tmp_path / "out"
    out.mkdir()
    found = train.run(settings, {}, out)
    assert Signature.read(out).output_names == ("kind", "place")
    assert found.accuracy.outputs is not None
    assert {name: each.words for name, each in found.accuracy.outputs.items()} == {
        "kind": "accuracy",
        "place": "R2",
    }
    assert min(each.score or 0.0 for each in found.accuracy.outputs.values()) > 0.7


def test_the_metric_counts_the_objects_that_are_found() -> None:
    from dots import found

    objects = np.array([[[1, 1], [9, 14]], [[5, 2], [-1, -1]]], np.float32)
    sign = np.full((2, 4, 4, 1), -1.0)
    sign[0, 0, 0] = sign[1, 0, 1] = 1
    np.testing.assert_array_equal(found({"objects": objects}, {"sign": sign}), [0.5, 1.0])
