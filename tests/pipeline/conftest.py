from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
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


def hear_interrupts() -> None:
    """A shell starts background jobs, which tests may be, with SIGINT ignored for good."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A run that hangs in `copy`, and the process number of that stage."""
    from children import environment, tiny_command

    command = tiny_command("sleeps", "run", "all")
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=hear_interrupts,
    ) as process:
        assert process.stdout
        asleep = next(line for line in process.stdout if "asleep in" in line)
        yield process, int(asleep.split()[-1])
        process.kill()
