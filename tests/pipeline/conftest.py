from __future__ import annotations

import sys
from pathlib import Path

import pytest

# The child processes of the tiny line import its stages from here: they get our sys.path.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `pipeline run all` has run on the tiny line."""
    from children import tiny

    folder = tmp_path_factory.mktemp("finished")
    assert tiny("copy", "run", "all", cwd=folder).returncode == 0
    return folder
