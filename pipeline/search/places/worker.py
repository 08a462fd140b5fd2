"""A worker's end of the line to `local`: jobs on stdin, what happens on stdout, one line each."""

from __future__ import annotations

import importlib
import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any, TextIO

from pipeline.core.messages import Crashed, Failed, Finished, Message, Progress
from pipeline.search.job import Job, Tell
from pipeline.search.model import RungResult, Tested
from stages.errors import UserError, machine_error, redacted

Do = Callable[[Job, Tell], RungResult | Tested]


def main(module: str, function: str) -> None:
    """Do the jobs, each by that function, until stdin closes: then the search has ended somehow."""
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # Native code prints where it likes.
    waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(requests, waiting), daemon=True).start()
    work: Do = getattr(importlib.import_module(module), function)
    while True:
        _serve(waiting.get(), work, answers)


def _receive(requests: Any, waiting: queue.SimpleQueue[Job]) -> None:
    for line in requests:
        waiting.put(Job.model_validate_json(line))
    # Those of a stage have a session of their own, and end when this process is gone.
    if sys.platform != "win32" and os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(0)


def _serve(job: Job, work: Do, answers: TextIO) -> None:
    def send(message: Message) -> None:
        answers.write(message.to_line())
        answers.flush()

    try:
        result = work(job, lambda stage: send(Progress(level="INFO", text=stage, step=None)))
        send(Finished(measurements=json.loads(result.model_dump_json())))
    except Exception as error:
        trace = redacted(traceback.format_exc())
        print(trace, file=sys.stderr, flush=True)
        known = error if isinstance(error, UserError) else machine_error(error)
        if known is None:
            text = redacted("".join(traceback.format_exception_only(error)).strip())
            send(Crashed(message=text, traceback=trace))
        else:
            kind = type(known).__name__
            send(Failed(kind=kind, message=known.message, hint=known.hint, traceback=trace))
