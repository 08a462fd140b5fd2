"""The parent's end of the child process in which stages run: start, ask, listen, close."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipeline.core.messages import EVENT, Crashed, Failed, Finished, Progress, StageCall
from pipeline.core.plan import Process, Stage
from pipeline.core.scratch import Scratch, scratch
from stages.engines.child import command
from stages.errors import KINDS, StageCrashed
from stages.results.base import StageResult

CLOSE_SECONDS = 10.0
"""An idle child ends in milliseconds; one that has not by then hangs in native code."""

TENSORFLOW_ENVIRONMENT = {"KERAS_BACKEND": "tensorflow"}
TENSORFLOW_DEFAULTS = {"TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONHASHSEED": "0"}
"""The seed, because tf2onnx goes through sets of names: where two nodes are merged, chance would
choose the name that stays, and equal models would have graphs of different bytes."""

NATIVE_CRASHES = ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE")
"""Signals that a process gets for what its own native code does; the others come from outside."""

WITHOUT_ONEDNN = {"TF_ENABLE_ONEDNN_OPTS": "0"}
"""TensorFlow's own kernels: 2.21 crashes in oneDNN's gradient of an 8-to-16 1x1 convolution with
stride 2, on images of 64 pixels and more."""

Listener = Callable[[str, str, "tuple[int, int] | None"], None]


class StageBug(Exception):
    """A stage ended with an exception that is no UserError: a mistake in its code."""

    def __init__(self, message: str, log: Path) -> None:
        super().__init__(message)
        self.log = log


class ChildDied(Exception):
    """The child ended without an answer; `cause` is its signal by name, or its exit status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.cause = _cause(status)


class ChildTraceback(Exception):
    """The traceback of the child, as the cause of the error that it led to here."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"\n{self.text}"


@dataclass(frozen=True)
class Task:
    """One call of a stage: `inputs` maps needed stages to their folders, `out` is empty.

    `resume` outlives a kill; a stage that can resume takes it as an argument of that name.
    """

    stage: Stage
    settings: Mapping[str, Any]
    inputs: Mapping[str, Path]
    out: Path
    log: Path
    resume: Path

    def to_call(self) -> StageCall:
        """What the child is asked."""
        settings_class = self.stage.settings
        return StageCall(
            module=self.stage.module,
            settings_class=(settings_class.__module__, settings_class.__qualname__),
            settings=dict(self.settings),
            inputs=dict(self.inputs),
            out=self.out,
            log=self.log,
            resume=self.resume,
        )


class StageProcess:
    """A child process in which stages run, as a context manager.

    It is kept from task to task, so that TensorFlow is imported once, and replaced when a
    stage of another kind follows, so that the memory TensorFlow took is free by then. It has a
    temporary folder below `root`, which is gone at the end, and so are the processes it started.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._kind: Process | None = None
        self._child: subprocess.Popen[str] | None = None
        self._crash = ""
        """Which stage died of what, where the next ones of TensorFlow do without oneDNN."""

    def __enter__(self) -> StageProcess:
        self._opened = contextlib.ExitStack()
        self._scratch = self._opened.enter_context(scratch(self._root))
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._opened:
            if kind is None:
                self.close()
            else:
                self.kill()

    def run(self, task: Task, listen: Listener) -> StageResult:
        """Run one stage and return its result; `listen` gets (level, text, step).

        A stage of TensorFlow that dies in native code runs once more without oneDNN, and so do
        those after it from their start, which their results note. Raises the UserError that the
        stage raised, StageBug for any other exception of it, and StageCrashed if the child died.
        """
        task.log.parent.mkdir(parents=True, exist_ok=True)
        task.log.write_bytes(b"")
        if self._kind != task.stage.process:
            self.close()
        if self._crash and task.stage.process == "tensorflow":
            note = f"ran with TF_ENABLE_ONEDNN_OPTS=0 from its start, because {self._crash}"
            listen("WARNING", note, None)
            return self._noted(task, listen, note)
        try:
            return self._attempt(task, listen)
        except ChildDied as died:
            if not _may_help_without_onednn(task, died):
                raise _crashed(task, died.cause) from None
            cause = died.cause
        note = f"died of {cause} in native code and ran again with TF_ENABLE_ONEDNN_OPTS=0"
        listen("WARNING", note, None)
        _empty(task.out)
        self._crash = f"{task.stage.name} died of {cause} with oneDNN"
        return self._noted(task, listen, note, f"{cause}, and again without oneDNN: ")

    def _noted(self, task: Task, listen: Listener, note: str, before: str = "") -> StageResult:
        """What a stage without oneDNN returns, with `note`. Raises what `run` raises."""
        try:
            result = self._attempt(task, listen)
        except ChildDied as died:
            raise _crashed(task, f"{before}{died.cause}") from None
        return result.model_copy(update={"notes": (*result.notes, note)})

    def _attempt(self, task: Task, listen: Listener) -> StageResult:
        """Raises ChildDied, and what `run` raises."""
        if self._child is None:
            self._kind = task.stage.process
            self._child = _start(task, self._scratch, WITHOUT_ONEDNN if self._crash else {})
        return self._ask(self._child, task, listen)

    def _ask(self, child: subprocess.Popen[str], task: Task, listen: Listener) -> StageResult:
        if child.stdin is None or child.stdout is None:
            raise ValueError("the child must be started with pipes")
        with contextlib.suppress(BrokenPipeError):  # A dead child is noticed below.
            child.stdin.write(task.to_call().to_line())
            child.stdin.flush()
        for line in child.stdout:
            event = _event(line)
            if event is None:
                break
            if isinstance(event, Progress):
                listen(event.level, event.text, event.step)
            else:
                return _answer(event, task)
        died = ChildDied(_status(child))
        self.kill()
        raise died

    def close(self) -> None:
        """Let an idle child end, with all the memory that it holds."""
        child, self._child = self._child, None
        if child is None:
            return
        _close_pipes(child)
        try:
            child.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            _end(child)

    def kill(self) -> None:
        """End the child now, whatever it is doing."""
        child, self._child = self._child, None
        if child is not None:
            _close_pipes(child)
            _end(child)


def _may_help_without_onednn(task: Task, died: ChildDied) -> bool:
    (name, value), *_ = WITHOUT_ONEDNN.items()
    has_onednn = task.stage.process == "tensorflow" and os.environ.get(name) != value
    return has_onednn and died.cause in NATIVE_CRASHES


def _crashed(task: Task, cause: str) -> StageCrashed:
    return StageCrashed(
        f"the process of stage {task.stage.name} died: {cause}",
        f"what it printed: {task.log}\nearlier stages are done: the same command resumes from here",
    )


def _empty(folder: Path) -> None:
    """Delete what a stage has written before it died."""
    for each in folder.iterdir():
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        else:
            each.unlink()


def _event(line: str) -> Progress | Finished | Failed | Crashed | None:
    """What a child says; None for the half of a line, which it leaves if it is killed meanwhile."""
    try:
        return EVENT.validate_json(line)
    except ValidationError:
        return None


def _end(child: subprocess.Popen[str]) -> None:
    """Kill the child and the processes that it has started, which are the group of its session.

    Before it is waited for: from then on its number may belong to others.
    """
    if child.returncode is None:
        if sys.platform == "win32":
            child.kill()
        else:
            with contextlib.suppress(OSError):
                os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _status(child: subprocess.Popen[str]) -> int:
    """How a child has ended whose pipe is closed; what it has started is killed."""
    if sys.platform != "win32":
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        with contextlib.suppress(OSError):
            os.killpg(child.pid, signal.SIGKILL)
    return child.wait()


def _start(task: Task, scratch: Scratch, variables: Mapping[str, str]) -> subprocess.Popen[str]:
    environment = {**os.environ, **variables, "TMPDIR": str(scratch.folder)}
    if task.stage.process == "tensorflow":
        environment = {**TENSORFLOW_DEFAULTS, **environment, **TENSORFLOW_ENVIRONMENT}
    with task.log.open("ab") as errors:
        # A session of its own: Ctrl-C reaches the parent only, which then ends the child.
        return subprocess.Popen(
            command("pipeline.core.worker", "main", path=sys.path),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
            encoding="utf-8",
            start_new_session=True,
            pass_fds=() if sys.platform == "win32" else (scratch.descriptor,),
        )


def _close_pipes(child: subprocess.Popen[str]) -> None:
    for pipe in (child.stdin, child.stdout):
        with contextlib.suppress(BrokenPipeError):
            if pipe is not None:
                pipe.close()


def _answer(event: Finished | Failed | Crashed, task: Task) -> StageResult:
    """The result of a stage that ended well. Raises what the other events stand for."""
    if isinstance(event, Finished):
        return task.stage.result.model_validate(event.measurements)
    cause = ChildTraceback(event.traceback)
    if isinstance(event, Failed):
        hint = f"{event.hint}\nwhat the stage printed: {task.log}".lstrip()
        raise KINDS[event.kind](event.message, hint) from cause
    raise StageBug(f"stage {task.stage.name}: {event.message}", task.log) from cause


def _cause(status: int) -> str:
    """What a child's exit status means: negative is the signal that killed it."""
    if status >= 0:
        return f"exit status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    if name == "SIGKILL":
        return "SIGKILL, which is how the system ends a process when memory runs out"
    return name
