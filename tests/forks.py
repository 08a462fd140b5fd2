"""A process that has imported what its jobs need and forks for each: they need not import it.

Importing TensorFlow takes as long as the small trainings of these tests, and importing the command
line as long as its work. TensorFlow's threads for computing start with its first operation, and the
process that forks runs none.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType


class Forks:
    """Calls `module.main(*arguments)` in processes of their own; a context manager."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __enter__(self) -> Forks:
        ours = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._parent = subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import serve; serve({self._module!r})"],
            env={**ours, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._parent.communicate()

    def run(self, *jobs: Sequence[str], variables: Sequence[Mapping[str, str]] = ()) -> list[int]:
        """The exit statuses of one process per job, all at once; negative: killed by that signal.

        A job is the arguments of `main`; `variables` are changes to the environment, per job.
        """
        assert self._parent.stdin
        assert self._parent.stdout
        self._parent.stdin.write(json.dumps([jobs, variables or [{}] * len(jobs)]) + "\n")
        self._parent.stdin.flush()
        statuses: list[int] = json.loads(self._parent.stdout.readline())
        return statuses


def serve(module: str) -> None:
    """Fork for each job that a line of stdin lists, and print how they ended."""
    gc.disable()  # Importing TensorFlow takes a fifth longer with searches for garbage.
    main = importlib.import_module(module).main
    gc.freeze()  # Keras searches at every reset, and would search all that was imported.
    for line in sys.stdin:
        started = [_fork(main, *job) for job in zip(*json.loads(line), strict=True)]
        ended = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in started]
        print(json.dumps(ended), flush=True)


def _fork(main: Callable[..., None], arguments: list[str], variables: dict[str, str]) -> int:
    if pid := os.fork():
        return pid
    try:
        os.dup2(2, 1)  # Only the parent answers.
        os.environ.update(variables)
        main(*arguments)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
    os._exit(1)
