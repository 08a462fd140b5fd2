"""The command line as tests call it: in this process, or in one that imports what they import."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from click.testing import CliRunner, Result

import pipeline
from pipeline.cli import pipeline as command_line

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


def call(*arguments: str) -> Result:
    """The command line in this process; nothing that it can raise escapes."""
    result = CliRunner().invoke(command_line, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def tiny_command(module: str, *arguments: str) -> list[str]:
    """The command line on the tiny line whose stage is `module`."""
    return [sys.executable, "-m", "tiny_line", module, *arguments]


def tiny(module: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command line on the tiny line, in a process of its own, piped."""
    return subprocess.run(
        tiny_command(module, *arguments),
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def ends_soon(pid: int) -> bool:
    """Whether the process is gone, or a zombie that nobody has fetched, within seconds."""
    stat = Path(f"/proc/{pid}/stat")
    for _ in range(500):
        try:
            if stat.read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.01)
    return False
