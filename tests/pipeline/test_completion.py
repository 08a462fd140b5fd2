from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from children import environment, output_of
from click.shell_completion import ShellComplete

from pipeline.cli import pipeline
from pipeline.completion import Bash
from pipeline.config import load
from pipeline.core.plan import PLAN
from stages.settings import Settings

STAGES = [stage.name for stage in PLAN]


def completed(*words: str) -> list[str]:
    """What the last of `words` can become."""
    *args, incomplete = words
    shell = ShellComplete(pipeline, {}, "pipeline", "_PIPELINE_COMPLETE")
    return [item.value for item in shell.get_completions(args, incomplete)]


def test_stages_are_completed() -> None:
    assert completed("run", "") == ["all", "report", *STAGES]
    assert completed("run", "train", "be") == ["benchmark"]
    assert completed("run", "--from", "") == STAGES
    assert completed("run", "--to", "c") == ["convert"]


def test_keys_of_settings_are_completed() -> None:
    assert completed("run", "all", "--set", "train.ep") == ["train.epochs="]
    keys = completed("config", "--set", "")
    assert len(keys) == sum(len(type(section).model_fields) for _, section in Settings())


@pytest.mark.parametrize(
    ("word", "values"),
    [
        ("quantize.calibration=", ["quantize.calibration=auto"]),
        ("train.precision=b", ["train.precision=bfloat16"]),
        ("data.flip=", ["data.flip=true", "data.flip=false"]),
        ("data.name=dig", ["data.name=digits"]),
        ("model.name=MobileNetV2", ["model.name=MobileNetV2"]),
        ("model.head=a", ["model.head=average"]),
        ("train.epochs=", ["train.epochs=24"]),
        ("data.path=", []),
        ("build.backends=", []),
        ("no.such=", []),
    ],
)
def test_values_are_completed_where_they_can_be_listed(word: str, values: list[str]) -> None:
    found = completed("run", "all", "--set", word)
    assert found == values or set(values) <= set(found)
    assert bool(found) == bool(values)


def test_every_value_that_is_offered_is_taken() -> None:
    for key in completed("config", "--set", ""):
        # Other kinds than images are read from arrays alone.
        before = ["data.name=npz"] if key == "data.kind=" else []
        for offered in completed("config", "--set", key):
            load(None, [*before, offered])


@pytest.mark.parametrize(
    ("words", "completions"),
    [
        (["run", "be"], ["plain,benchmark"]),
        (["run", "all", "--set", "train.ep"], ["plain,train.epochs="]),
        (["run", "all", "--set", "data.name", "=", "dig"], ["plain,digits"]),
        (["run", "all", "--set", "data.flip", "="], ["plain,true", "plain,false"]),
        (["run", "--set", "data.name", "=", "npz", "be"], ["plain,benchmark"]),
        (["run", "all", "--set", "data.name=dig"], ["plain,data.name=digits"]),
    ],
)
def test_bash_ends_a_word_at_an_equals_sign(
    words: list[str], completions: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMP_WORDS", " ".join(["pipeline", *words]))
    monkeypatch.setenv("COMP_CWORD", str(len(words)))
    shell = Bash(pipeline, {}, "pipeline", "_PIPELINE_COMPLETE")
    assert shell.complete().splitlines() == completions


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_itself_completes_with_it(tmp_path: Path) -> None:
    program = tmp_path / "pipeline"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pipeline "$@"\n')
    program.chmod(0o755)
    script = (
        'eval "$(_PIPELINE_COMPLETE=bash_source pipeline)"\n'
        "COMP_WORDS=(pipeline run all --set data.name = dig) COMP_CWORD=6\n"
        "_pipeline_completion pipeline 2>/dev/null\n"
        'echo "${COMPREPLY[@]}"'
    )
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        env=environment(PATH=path),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "digits\n"


def test_completion_imports_nothing_heavy() -> None:
    code = (
        "import os, sys\n"
        "os.environ.update(COMP_WORDS='pipeline run all --set train.ep', COMP_CWORD='4')\n"
        "os.environ['_PIPELINE_COMPLETE'] = 'bash_complete'\n"
        "from pipeline.__main__ import main\n"
        "try:\n    main()\n"
        "except SystemExit:\n    print(*sys.modules)"
    )
    offered, modules = output_of(code).splitlines()
    assert offered == "plain,train.epochs="
    assert not {"numpy", "keras", "rich", "onnx"} & set(modules.split())
