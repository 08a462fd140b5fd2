from __future__ import annotations

from pathlib import Path

import pytest
from children import output_of

IMPORTED = """
import sys
from tiny_line.__main__ import main
try:
    main()
finally:
    print("imported", *sorted(sys.modules))
"""


def imported(*arguments: str, cwd: Path) -> set[str]:
    """Every module, and every package as which one begins."""
    return set(output_of(IMPORTED, "copy", *arguments, cwd=cwd).splitlines()[-1].split())


ELSEWHERE = {
    "jinja2",
    "pipeline.core.process",
    "pipeline.results.history",
    "pipeline.results.summary",
    "stages.results.asides",
}
"""What only a run that did something needs, or a command beside the line."""


HEAVY = {
    "tensorflow",
    "keras",
    "numpy",
    "onnx",
    "onnxruntime",
    "ai_edge_litert",
    "sklearn",
    "matplotlib",
}


@pytest.mark.parametrize(
    "arguments", [["run", "all"], ["status"], ["report"], ["history"], ["config"]]
)
def test_a_command_with_nothing_to_do_imports_nothing_heavy(
    finished: Path, arguments: list[str]
) -> None:
    assert not imported(*arguments, cwd=finished) & HEAVY


def test_a_run_with_nothing_to_do_makes_no_types_that_it_does_not_read(finished: Path) -> None:
    assert not imported("run", "all", cwd=finished) & ELSEWHERE


def test_every_type_of_a_record_is_complete_once_it_is_imported() -> None:
    """One that is made when it is first used is made anew in each type that holds it."""
    code = (
        "from pipeline.commands import Settings\n"
        "from pipeline.core.record import Identity\n"
        "from pipeline.results.model import Measured\n"
        "from stages.settings import StageSettings\n"
        "def below(kind): return {kind}.union(*map(below, kind.__subclasses__()))\n"
        "types = set().union(*map(below, (Measured, Identity, Settings.__base__)))\n"
        "types -= below(StageSettings)\n"
        "print(len(types) > 50, *(each for each in types if not each.__pydantic_complete__))"
    )
    assert output_of(code).split() == ["True"]


def test_what_a_stage_sees_is_described_without_making_its_type_which_nothing_holds() -> None:
    code = (
        "from pipeline.core.plan import PLAN\n"
        "from stages.settings import Settings\n"
        "seen = [stage.settings.of(Settings()).to_json() for stage in PLAN]\n"
        "print(all(seen), *(stage.name for stage in PLAN if stage.settings.__pydantic_complete__))"
    )
    assert output_of(code).split() == ["True"]


def test_a_command_ends_without_a_search_for_garbage() -> None:
    code = (
        "import atexit, gc\n"
        "from pipeline.__main__ import main\n"
        "atexit.register(lambda: print('left to search:', len(gc.get_objects()) > 1000))\n"
        "main()"
    )
    assert output_of(code, "config").splitlines()[-1] == "left to search: False"


def test_help_imports_click_and_nothing_else_of_weight() -> None:
    code = (
        "import sys\n"
        "from pipeline.cli import pipeline\n"
        "pipeline(['--help'], standalone_mode=False)\n"
        "print(*sys.modules)"
    )
    modules = set(output_of(code).splitlines()[-1].split())
    assert "click" in modules
    assert not modules & (HEAVY | {"pydantic", "rich", "stages.settings", "pipeline.report"})
