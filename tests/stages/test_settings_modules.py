from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stages.errors import ModelError
from stages.settings import Model, modules
from stages.settings.modules import source_files


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return tmp_path


def write(root: Path, **files: str) -> None:
    for name, text in files.items():
        file = root / f"{name.replace('__in__', '/')}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def names(root: Path, module: str) -> list[str]:
    files = Model(source=f"{module}:build").external_files()
    return [file.relative_to(root).as_posix() for file in files]


def test_a_model_function_counts_as_the_file_it_is_written_in(root: Path) -> None:
    write(root, own_model="def build(): ...")
    assert names(root, "own_model") == ["own_model.py"]
    assert names(root, "no_such_module") == []
    assert names(root, "own_model.below") == ["own_model.py"]


def test_what_it_imports_counts_too_from_file_to_file(root: Path) -> None:
    write(
        root,
        own_model="import blocks\nfrom layers import conv as c\ndef build():\n  import late",
        blocks="from deep.er import something",
        layers="",
        late="import own_model",
        unused="",
    )
    write(root, deep__in____init__="", deep__in__er="from . import beside", deep__in__beside="")
    write(root, deep__in__unused="")
    own = ["own_model.py", "blocks.py", "layers.py", "late.py"]
    deep = ["deep/__init__.py", "deep/er.py", "deep/beside.py"]
    assert names(root, "own_model") == sorted(own + deep)


def test_submodules_in_packages_and_in_folders_without_init_are_found(root: Path) -> None:
    write(root, nets__in__small__in__model="from ..parts import block\nfrom .. import other")
    write(root, nets__in__parts="import importlib\nimportlib.import_module('plugin')", plugin="")
    write(root, nets__in__other="")
    expected = ["nets/other.py", "nets/parts.py", "nets/small/model.py", "plugin.py"]
    assert names(root, "nets.small.model") == expected


def test_installed_packages_python_and_ours_do_not_count(root: Path) -> None:
    write(root, own_model="import json, keras, numpy.linalg\nfrom stages.models import blocks")
    assert names(root, "own_model") == ["own_model.py"]


def test_nothing_is_executed_and_broken_files_count_as_they_are(root: Path) -> None:
    write(root, package__in____init__="raise SystemExit", package__in__model="import broken")
    write(root, broken="def (")
    expected = ["broken.py", "package/__init__.py", "package/model.py"]
    assert names(root, "package.model") == expected


def test_tensorflow_is_not_imported_for_it(root: Path) -> None:
    write(root, own_model="import keras\nimport tensorflow")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); "
        "from stages.settings.modules import source_files; print(len(source_files('own_model'))); "
        "assert not {'keras', 'tensorflow', 'own_model'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(root)], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_a_change_two_imports_away_changes_the_files_that_are_hashed(root: Path) -> None:
    write(root, own_model="import a", a="import b", b="X = 1")
    assert root / "b.py" in source_files("own_model")


def test_modules_of_other_settings_are_followed_as_well(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(modules, "NAMED", set())
    write(root, of_data="def load(part): ...", of_metric="def share(): ...", hidden_one="")
    for name in ("of_data", "of_metric", "hidden_one"):
        monkeypatch.delitem(sys.modules, name, raising=False)
        __import__(name)
    assert modules.unseen("of_data") == ["of_metric", "hidden_one"]
    modules.function_of("quality.metric", "of_metric:share", ModelError)
    assert modules.unseen("of_data") == ["hidden_one"]
