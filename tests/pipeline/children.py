"""The command line as tests call it: in this process, or in one that imports what they import."""

from __future__ import annotations

import atexit
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from click.testing import CliRunner, Result

import pipeline
from pipeline.cli import pipeline as command_line
from tests.forks import Forks

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


@functools.cache
def _forks() -> Forks:
    opened = Forks("tiny_line.forked")
    atexit.register(opened.__exit__, None, None, None)
    return opened.__enter__()


def tiny(module: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command line on the tiny line, in a process of its own, with its output in files.

    The process is a fork of one that has imported all; `tiny_command` begins from nothing.
    """
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("output", "errors")]
        job = [str(cwd), json.dumps(environment()), *map(str, files), module, *arguments]
        (status,) = _forks().run(job)
        output, errors = (file.read_text() for file in files)
    return subprocess.CompletedProcess(arguments, status, output, errors)


def ends_soon(pid: int) -> bool:
    """Whether the process is gone, or a zombie that nobody has fetched, within a minute."""
    stat = Path(f"/proc/{pid}/stat")
    for _ in range(6000):
        try:
            if stat.read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.01)
    return False
