"""The commands of the README and of the guides, as written."""

from __future__ import annotations

import re
import shlex
import subprocess

import pytest

from stages.engines.registry import ENGINES, precision_label
from tests.conftest import ROOT, pipeline

README = (ROOT / "README.md").read_text()
GUIDES = ("five_minutes", "your_program", "boards", "reading_the_report")
TEXTS = [README, *((ROOT / "docs" / f"{name}.md").read_text() for name in GUIDES)]


def blocks(language: str) -> list[str]:
    """The code of `language` in the README and the guides."""
    return [
        block
        for text in TEXTS
        for block in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    ]


COMMANDS = [
    line.split("  #")[0].strip()
    for block in blocks("sh")
    for line in block.splitlines()
    if line and not line.startswith("#")
]
LINE = list(dict.fromkeys(command for command in COMMANDS if command.startswith("pipeline ")))


@pytest.mark.parametrize("command", [command for command in LINE if " run " in command])
def test_a_run_of_the_readme_would_start(command, tmp_path):
    words = shlex.split(command)[1:]
    done = pipeline(*words, "--dry-run", "--artifacts", tmp_path / "a")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("make")])
def test_a_make_target_of_the_readme_exists(command):
    done = subprocess.run(
        [*shlex.split(command), "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_ci_runs_the_test_command_of_the_readme():
    assert "make test" in COMMANDS
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_the_table_of_engines_has_the_rows_of_the_registry():
    """A version may follow the name: TensorRT's are of several."""
    (table,) = re.findall(r"^## Engines\n\n(.*?)\n\n", README, re.MULTILINE | re.DOTALL)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    found = {re.findall("`(.*?)`", name)[0]: rest for name, *rest in cells[2:]}
    assert found == {
        name: [", ".join(map(precision_label, row.precisions)), row.built, row.run]
        for name, row in ENGINES.items()
    }


def test_scripts_and_files_that_the_documentation_names_exist():
    for document in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        text = document.read_text()
        made_by_a_recipe = re.findall(r"^# new file (.+)$", text, re.MULTILINE)
        named = r"\b(?:benchmarks|configs|docs|stages|pipeline|tests)/[\w/.-]+\.\w+\b"
        for name in set(re.findall(named, text)).difference(made_by_a_recipe):
            assert (ROOT / name).exists(), f"{document.name}: {name}"
