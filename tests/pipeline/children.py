"""Python processes that tests start: they import what the tests import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pipeline

PATHS = [Path(__file__).parent, Path(pipeline.__file__).parents[1]]


def environment(**changes: str) -> dict[str, str]:
    """Our environment with our import path, and with `changes`."""
    paths = os.pathsep.join([*map(str, PATHS), *filter(None, sys.path)])
    return {**os.environ, "PYTHONPATH": paths, **changes}


def output_of(code: str, *arguments: str, cwd: Path | None = None) -> str:
    """What `code` prints. Raises CalledProcessError if it fails."""
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(
        command, cwd=cwd, env=environment(), stdout=subprocess.PIPE, text=True, check=True
    ).stdout
