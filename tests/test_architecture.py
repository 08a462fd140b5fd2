"""The shape of the code base: what may import what, and what a stage looks like."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import grimp
import pytest
from pydantic import BaseModel

from pipeline.core.plan import PLAN

ROOT = Path(__file__).parent.parent


def test_the_import_contracts_of_pyproject_hold():
    command = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command as main; main()",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


@pytest.mark.parametrize("stage", PLAN, ids=lambda stage: stage.name)
def test_a_stage_is_a_plain_function_of_settings_inputs_and_folder(stage):
    run = importlib.import_module(stage.module).run
    parameters = list(inspect.signature(run).parameters)
    assert parameters[:3] == ["settings", "inputs", "out"]
    assert parameters[3:] in ([], ["resume"], ["resume", "logs"])
    hints = inspect.get_annotations(run, eval_str=True, globals={**run.__globals__})
    assert hints["settings"] is stage.settings
    assert hints["return"] is stage.result
    assert run.__doc__


def test_no_stage_is_imported_by_another_or_by_what_stages_are_made_of():
    graph = grimp.build_graph("pipeline", "stages", exclude_type_checking_imports=True)
    for stage in PLAN:
        assert graph.find_modules_that_directly_import(stage.module) == set(), stage.name


def test_the_deployment_stages_run_without_tensorflow():
    modules = [stage.module for stage in PLAN if stage.process == "engine"]
    code = (
        f"import sys, pipeline.cli, pipeline.core.worker, {', '.join(modules)};"
        "print([name for name in ('tensorflow', 'keras') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_types_that_every_command_makes_are_not_read_from_their_text():
    """Decision 20: with `from __future__ import annotations` pydantic evaluates each field."""
    folders = [ROOT / "stages" / room for room in ("results", "settings")]
    files = [file for folder in folders for file in folder.glob("*.py")]
    files += [ROOT / "pipeline/core/record.py", ROOT / "pipeline/results/model.py"]
    makers = []
    for file in files:
        name = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        module = importlib.import_module(name)
        classes = [each for each in vars(module).values() if inspect.isclass(each)]
        if any(issubclass(each, BaseModel) and each.__module__ == name for each in classes):
            makers.append(module)
    assert len(makers) > 10
    assert [each.__name__ for each in makers if hasattr(each, "annotations")] == []


def test_packages_hold_no_file_for_things_without_a_name():
    names = {
        path.name for folder in ("pipeline", "stages") for path in (ROOT / folder).rglob("*.py")
    }
    assert not names & {"utils.py", "helpers.py", "common.py", "misc.py"}


def test_the_root_of_the_work_shows_its_stages():
    """Decision 19; the way to say how far one is stands beside them."""
    files = {path.stem for path in (ROOT / "stages").glob("*.py")}
    assert files == {stage.module.removeprefix("stages.") for stage in PLAN} | {
        "__init__",
        "progress",
    }
