"""Every file operation of the folder of artifacts fails once in turn: nothing is lost."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import fault_scenarios
import pytest
from children import environment


@pytest.mark.parametrize("name", fault_scenarios.SCENARIOS)
def test_after_any_fault_the_folder_holds_the_old_state_or_the_new_and_the_next_run_ends_well(
    name: str, tmp_path: Path
) -> None:
    command = [sys.executable, fault_scenarios.__file__, name, str(tmp_path)]
    done = subprocess.run(
        command, env=environment(), capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    steps, seen = ast.literal_eval(done.stdout)
    assert steps >= 3
    assert seen["killed"] >= steps
    assert seen["raised"] + seen.get("ended", 0) >= steps
    assert seen["never"] == 1
