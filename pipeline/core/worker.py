"""The child process in which stages run; `pipeline/core/process.py` is its other end.

Calls come as JSON lines on stdin, events go as JSON lines to what was stdout
(pipeline/core/messages.py).

Everything else that the stage or its libraries print, from Python or not, goes to the log.
When stdin closes the parent is done, or dead: then this process ends at once, in the middle
of a stage as well, so that nothing keeps writing behind the back of the next run.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import importlib
import inspect
import json
import logging
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from pipeline.core.messages import Crashed, Failed, Finished, Message, Progress, StageCall
from stages.errors import UserError, machine_error, redacted
from stages.results.base import StageResult

OF_NO_STAGE = ("matplotlib", "scipy", "sklearn")
"""What TensorFlow and Keras import if it is there, for pictures, sparse arrays and wrappers that no
stage uses: a quarter of the time until they are imported."""


class Events:
    """The way back to the parent. Any thread may send."""

    def __init__(self, descriptor: int) -> None:
        self._stream = os.fdopen(descriptor, "w", encoding="utf-8")
        self._lock = threading.Lock()

    def send(self, message: Message) -> None:
        """Send one line. Raises ValueError or TypeError for what is no JSON."""
        line = message.to_line()
        with self._lock:
            self._stream.write(line)
            self._stream.flush()


class ProgressHandler(logging.Handler):
    """Sends what the logger `stages` says; `record.step` is (done, total) or None."""

    def __init__(self, events: Events) -> None:
        super().__init__(logging.INFO)
        self._events = events

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record as a progress event."""
        step = getattr(record, "step", None)
        text = redacted(record.getMessage())
        self._events.send(Progress(level=record.levelname, text=text, step=step))


class LogFormatter(logging.Formatter):
    """Lines of the log, without what an address can hide."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, or lines, of one record."""
        return redacted(super().format(record))


def main() -> None:
    """Serve requests until stdin closes."""
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    events = Events(os.dup(1))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    _log_to_stderr(events)
    waiting: queue.SimpleQueue[StageCall] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(requests, waiting), daemon=True).start()
    while True:
        call = waiting.get()
        _redirect(call.log)
        serve(call, events)


def _log_to_stderr(events: Events) -> None:
    faulthandler.enable()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    to_log = logging.StreamHandler()
    to_log.setFormatter(LogFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[to_log])
    logging.captureWarnings(True)
    logging.getLogger("stages").addHandler(ProgressHandler(events))


def _receive(requests: Any, waiting: queue.SimpleQueue[StageCall]) -> None:
    for line in requests:
        waiting.put(StageCall.model_validate_json(line))
    if sys.platform != "win32" and os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)  # This process too, and those that the stage has started.
    os._exit(0)


def _redirect(log: Path) -> None:
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


def serve(call: StageCall, events: Events) -> None:
    """Run one stage and send how it ended."""
    try:
        measurements = run_stage(call)
        _flush()
        events.send(Finished(measurements=measurements))
    except BaseException as error:
        events.send(_described(error))


def _described(error: BaseException) -> Failed | Crashed:
    known = error if isinstance(error, UserError) else machine_error(error)
    trace = _print_traceback()
    if known is None:
        message = redacted("".join(traceback.format_exception_only(error)).strip())
        return Crashed(message=message, traceback=trace)
    kind = type(known).__name__
    return Failed(kind=kind, message=known.message, hint=known.hint, traceback=trace)


def _print_traceback() -> str:
    text = redacted(traceback.format_exc())
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr)
    _flush()
    return text


def run_stage(call: StageCall) -> dict[str, Any]:
    """Import the stage's module, rebuild its settings and call its `run`; the result as JSON.

    A stage whose `run` has an argument `resume` gets the folder of what it can resume from, one
    with an argument `logs` the folder for its TensorBoard logs, beside the log of its output.
    """
    module, name = call.settings_class
    settings_class = getattr(importlib.import_module(module), name)
    settings = settings_class.model_validate(call.settings)
    stage = import_stage(call.module)
    offered = {"resume": call.resume, "logs": call.log.with_suffix("")}
    taken = inspect.signature(stage.run).parameters
    extra = {name: folder for name, folder in offered.items() if name in taken}
    result = stage.run(settings, call.inputs, call.out, **extra)
    if not isinstance(result, StageResult):
        kind = type(result).__name__
        raise TypeError(f"{call.module}.run returned a {kind}, expected a StageResult")
    measurements: dict[str, Any] = json.loads(result.model_dump_json())
    return measurements


def import_stage(name: str) -> ModuleType:
    """The module `name`. What the first one imports is never searched for garbage.

    Importing TensorFlow with searches takes a fifth longer, and Keras asks for one at every reset.
    A stage of the user's finds every package, as it may ask whether there is one.
    """
    hidden = OF_NO_STAGE if name.startswith("stages.") else ()
    gc.disable()
    try:
        with _hidden(*hidden):
            module = importlib.import_module(name)
    finally:
        gc.enable()
    if not gc.get_freeze_count():  # Later there is what the stages before have left.
        gc.freeze()
    return module


@contextlib.contextmanager
def _hidden(*packages: str) -> Iterator[None]:
    """Let the imports of this block find none of `packages`, unless it is imported already."""
    hidden = [name for name in packages if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


if __name__ == "__main__":
    main()
