"""Child processes for measurements that need a process of their own.

A child imports from where its parent does, and never from the current folder: a `stages` or a
`json.py` there would be executed in place of ours.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = str(Path(__file__).parents[2])
PR_SET_PDEATHSIG = 1
"""Of prctl(2)."""


class ChildFailed(Exception):
    """A child ended with an exit status other than 0; `reason` is the last line of its stderr."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"exit status {status}: {reason}")
        self.status = status
        self.reason = reason

    @property
    def in_words(self) -> str:
        """ "ImportError: libcudnn.so.9: cannot open ...", "it crashes with SIGABRT"."""
        if self.status > 0:
            return self.reason
        try:
            name = signal.Signals(-self.status).name
        except ValueError:
            name = f"signal {-self.status}"
        return f"it crashes with {name}" + (f": {self.reason}" if self.reason else "")


def command(
    module: str, function: str, *arguments: str | float, path: Sequence[str] = ()
) -> list[str]:
    """The command line that calls a function of a module, as in `function(*arguments)`.

    `path` is the child's sys.path; by default ours without the current folder. Stages may import a
    model from there: their process gets all of ours. It notices by itself when its parent is gone
    and ends what it has started; the others end with their parent.
    """
    bond = "" if path else f"from {__name__} import end_with; end_with({os.getpid()}); "
    path = list(path or dict.fromkeys([*filter(None, sys.path), ROOT]))
    code = (
        f"import sys; sys.path[:] = {path!r}; "
        f"{bond}from {module} import {function}; {function}(*{arguments!r})"
    )
    return [sys.executable, "-c", code]


def end_with(parent: int) -> None:
    """In a child: let Linux end this process as soon as its parent is gone, however it ended.

    A process that runs on would disturb the next timing.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)  # It was gone before.


def answer(
    module: str, function: str, *arguments: str | float, seconds: float | None = None
) -> str:
    """The last line that the function prints in a child; libraries may print before it.

    Raises ChildFailed, also where it takes longer than `seconds`.
    """
    asked = command(module, function, *arguments)
    try:
        done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise ChildFailed(1, f"it has not answered within {seconds:.0f} s") from None
    if done.returncode != 0:
        raise ChildFailed(done.returncode, (done.stderr.strip().splitlines() or [""])[-1])
    return done.stdout.splitlines()[-1]


@functools.cache
def import_fault(module: str) -> str | None:
    """Why `module` does not load, found out in a child, which it may crash; once per process."""
    try:
        answer(__name__, "import_and_tell", module)
    except ChildFailed as failure:
        return failure.in_words
    return None


def import_and_tell(module: str) -> None:
    """In a child: the answer is that it is still there."""
    importlib.import_module(module)
    print("loaded")
