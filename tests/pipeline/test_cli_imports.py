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
    print("imported", *sorted({name.partition(".")[0] for name in sys.modules}))
"""


def imported(*arguments: str, cwd: Path) -> set[str]:
    return set(output_of(IMPORTED, "copy", *arguments, cwd=cwd).splitlines()[-1].split())


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
