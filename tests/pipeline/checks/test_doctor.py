from __future__ import annotations

import dataclasses
import io
import json
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from children import call
from rich.console import Console

from pipeline.checks import doctor
from stages.engines.base import Blocker
from stages.engines.registry import ENGINES

BROKEN = "import nowhere_to_be_found\n"
BLOCKED = """
from stages.engines.base import Blocker
def build_blocker() -> None: return None
def run_blocker() -> None: return Blocker("no GPU", "pip install 'something[gpu]'")
"""


def diagnosis(width: int = 100) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(doctor.table(doctor.diagnose()))
    return out.getvalue()


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Adds an engine `sample` whose module has the given source."""

    def add(source: str) -> None:
        (tmp_path / "sample_engine.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "sample_engine", raising=False)
        row = {"module": "sample_engine", "packages": ("sample-runtime",)}
        spec = dataclasses.replace(ENGINES["onnxruntime"], **row)
        monkeypatch.setitem(ENGINES, "sample", spec)

    yield add
    sys.modules.pop("sample_engine", None)


def line(text: str, start: str) -> list[str]:
    return next(words for each in text.splitlines() if (words := each.split())[:1] == [start])


def test_every_engine_is_listed_and_training_too() -> None:
    text = call("doctor").stdout
    for name in ("training", *ENGINES):
        assert line(text, name)[0] == name


def test_an_engine_that_can_be_built_but_not_run_says_why_and_what_would_change_it(
    engine: Callable[[str], None],
) -> None:
    engine(BLOCKED)
    text = diagnosis()
    assert line(text, "sample") == ["sample", "yes", "no"]
    assert "sample cannot be run: no GPU\n  pip install 'something[gpu]'" in text


def test_an_engine_whose_runtime_does_not_load_is_named_with_the_error(
    engine: Callable[[str], None],
) -> None:
    engine(BROKEN)
    text = diagnosis(width=200)
    assert line(text, "sample") == ["sample", "no", "no"]
    assert "sample cannot be built or run: sample-runtime is installed but does not load" in text
    assert "No module named 'nowhere_to_be_found'" in text
    assert "pip install --force-reinstall sample-runtime" in text


FREE = """
def build_blocker() -> None: return None
def run_blocker() -> None: return None
"""


def test_a_runtime_that_crashes_is_a_line_and_no_crash(
    engine: Callable[[str], None], tmp_path: Path
) -> None:
    engine(FREE)
    (tmp_path / "sample_runtime.py").write_text("import os; os.abort()")
    text = diagnosis(width=200)
    assert line(text, "sample") == ["sample", "no", "no"]
    assert (
        "sample cannot be built or run: sample-runtime is installed but does not load: it crashes "
        "with SIGABRT" in text
    )


def test_tensorflow_that_does_not_load_keeps_from_training() -> None:
    found = doctor.training_blocker("it crashes with SIGILL")
    assert found is not None
    assert found.reason.endswith("does not load: it crashes with SIGILL")
    assert found.fix == "pip install --force-reinstall tensorflow"


def test_this_machine_is_described() -> None:
    text = diagnosis()
    assert line(text, "python")[1] == ".".join(map(str, sys.version_info[:3]))
    for name in ("processor", "features", "fast", "GPU", "TensorFlow", "packages"):
        assert line(text, name)


def test_training_is_possible_where_its_packages_are() -> None:
    modules = {"pillow": "PIL"}
    absent = [
        name
        for name in doctor.TRAINING
        if find_spec(modules.get(name, name.replace("-", "_"))) is None
    ]
    found = doctor.training_blocker(None)
    assert (found is None) == (not absent)


def test_a_missing_training_package_is_named_with_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor, "TRAINING", ("json", "nowhere_to_be_found"))
    assert doctor.training_blocker(None) == Blocker(
        "the package nowhere_to_be_found is not installed", "pip install nowhere_to_be_found"
    )


def test_scripts_get_the_same_facts_as_json_and_tensorflow_is_not_imported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heavy = {"tensorflow", "keras"}
    for name in heavy:  # which another test has imported
        monkeypatch.delitem(sys.modules, name, raising=False)
    found = json.loads(call("doctor", "--format", "json").stdout)
    assert not heavy & sys.modules.keys()
    assert found["machine"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert isinstance(found["tensorflow"]["gpus"], list)
    assert found["abilities"].keys() == {"training", *ENGINES}
    for ability in found["abilities"].values():
        for verb in ("build", "run"):
            assert ability[verb]["possible"] == (ability[verb]["reason"] is None)


def test_piped_output_has_no_control_characters() -> None:
    assert all(character.isprintable() or character == "\n" for character in diagnosis())
