"""The child process in which stages run; `pipeline/core/process.py` is its other end.

Requests come as JSON lines on stdin, events go as JSON lines to what was stdout:

    request  {"module", "settings_class": [module, name], "settings", "inputs", "out", "log",
              "resume"}
    event    {"event": "progress", "level", "text", "step": [done, total] | null}
             {"event": "result", "measurements"}
             {"event": "error", "kind", "message", "hint", "traceback"}    of stages.errors
             {"event": "bug", "message", "traceback"}                      anything else

Everything else that the stage or its libraries print, from Python or not, goes to the log.
When stdin closes the parent is done, or dead: then this process ends at once, in the middle
of a stage as well, so that nothing keeps writing behind the back of the next run.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import importlib
import inspect
import json
import logging
import math
import os
import queue
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from stages.errors import UserError, machine_error

Request = dict[str, Any]


class Events:
    """The way back to the parent. Any thread may send."""

    def __init__(self, descriptor: int) -> None:
        self._stream = os.fdopen(descriptor, "w", encoding="utf-8")
        self._lock = threading.Lock()

    def send(self, event: str, **fields: Any) -> None:
        """Send one line. Raises ValueError or TypeError for what is no JSON."""
        line = json.dumps({"event": event, **fields}, allow_nan=False)
        with self._lock:
            self._stream.write(line + "\n")
            self._stream.flush()


class ProgressHandler(logging.Handler):
    """Sends what the logger `stages` says; `record.step` is (done, total) or None."""

    def __init__(self, events: Events) -> None:
        super().__init__(logging.INFO)
        self._events = events

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record as a progress event."""
        self._events.send(
            "progress",
            level=record.levelname,
            text=record.getMessage(),
            step=getattr(record, "step", None),
        )


def main() -> None:
    """Serve requests until stdin closes."""
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    events = Events(os.dup(1))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    _log_to_stderr(events)
    waiting: queue.SimpleQueue[Request] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(requests, waiting), daemon=True).start()
    while True:
        request = waiting.get()
        _redirect(request["log"])
        serve(request, events)


def _log_to_stderr(events: Events) -> None:
    faulthandler.enable()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    logging.captureWarnings(True)
    logging.getLogger("stages").addHandler(ProgressHandler(events))


def _receive(requests: Any, waiting: queue.SimpleQueue[Request]) -> None:
    for line in requests:
        waiting.put(json.loads(line))
    os._exit(0)


def _redirect(log: str) -> None:
    """Let stdout and stderr, Python's and those of native code, go to the file `log`."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)


def _flush() -> None:
    """Empty all buffers into the log: native code fills one that Python knows nothing of.

    A log that cannot be written, on a full disk, must not hide what the stage has to say.
    """
    for flush in (sys.stdout.flush, sys.stderr.flush, _flush_native):
        with contextlib.suppress(OSError):
            flush()


def _flush_native() -> None:
    with contextlib.suppress(TypeError):  # Windows has no library of all libraries.
        ctypes.CDLL(None).fflush(None)


def serve(request: Request, events: Events) -> None:
    """Run one stage and send how it ended."""
    try:
        measurements = run_stage(request)
        _flush()
        events.send("result", measurements=measurements)
    except BaseException as error:
        _send_error(error, events)


def _send_error(error: BaseException, events: Events) -> None:
    known = error if isinstance(error, UserError) else machine_error(error)
    if known is None:
        message = "".join(traceback.format_exception_only(error)).strip()
        events.send("bug", message=message, traceback=_print_traceback())
        return
    events.send(
        "error",
        kind=type(known).__name__,
        message=known.message,
        hint=known.hint,
        traceback=_print_traceback(),
    )


def _print_traceback() -> str:
    text = traceback.format_exc()
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr)
    _flush()
    return text


def run_stage(request: Request) -> dict[str, Any]:
    """Import the stage's module, rebuild its settings and call its `run`.

    A stage whose `run` has an argument `resume` gets the folder for what it can go on from, one
    with an argument `logs` the folder for its TensorBoard logs, beside the log of its output.
    """
    module, name = request["settings_class"]
    settings_class = getattr(importlib.import_module(module), name)
    settings = settings_class.model_validate(request["settings"])
    inputs = {need: Path(folder) for need, folder in request["inputs"].items()}
    stage = importlib.import_module(request["module"])
    offered = {"resume": Path(request["resume"]), "logs": Path(request["log"]).with_suffix("")}
    taken = inspect.signature(stage.run).parameters
    extra = {name: folder for name, folder in offered.items() if name in taken}
    result = stage.run(settings, inputs, Path(request["out"]), **extra)
    if isinstance(result, BaseModel):
        result = json.loads(result.model_dump_json())
    measurements: dict[str, Any] = _finite(result)
    return measurements


def _finite(value: Any) -> Any:
    """`value` with None for NaN and infinities, as in the loss of a training that diverged."""
    if isinstance(value, dict):
        return {key: _finite(child) for key, child in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(child) for child in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


if __name__ == "__main__":
    main()
