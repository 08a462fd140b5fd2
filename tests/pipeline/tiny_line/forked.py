"""The command line on the tiny line, in a fork of a process that has imported all of it."""

from __future__ import annotations

import json
import os
import signal
import sys

# A command imports these two where it needs them: here that is done once.
import matplotlib.figure  # noqa: F401

import pipeline.finalize  # noqa: F401
from tiny_line.__main__ import main as command_line

SECONDS = 300
"""A command that hangs is killed."""


def main(folder: str, environment: str, output: str, errors: str, *words: str) -> None:
    """Run it in `folder`, with its output and errors in these files, and exit as it exits."""
    signal.alarm(SECONDS)
    os.environ.clear()
    os.environ.update(json.loads(environment))
    os.chdir(folder)
    for descriptor, file in ((1, output), (2, errors)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), descriptor)
    sys.argv = ["tiny_line", *words]
    status = 0
    try:
        command_line()
    except SystemExit as ending:
        status = ending.code if isinstance(ending.code, int) else int(bool(ending.code))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
