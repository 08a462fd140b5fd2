"""Jobs in processes of this machine, as many as there are slots."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path

from pydantic import ValidationError

from pipeline.core.messages import EVENT, Crashed, Failed, Finished, Progress
from pipeline.search.job import Job
from pipeline.search.model import RungResult, Tested
from pipeline.search.places import Done, Said
from stages.engines import environment
from stages.engines.child import command
from stages.errors import KINDS, StageCrashed
from stages.results.machine import MachineFacts

Work = tuple[str, str]
"""Module and name of what does a job, as `job.run_job` does."""

RUN_JOB: Work = ("pipeline.search.job", "run_job")


class JobBug(Exception):
    """A job ended with an exception that is no UserError: a mistake in our code."""


class Local:
    """`slots` processes, each started with the first job that finds none idle."""

    def __init__(self, slots: int, logs: Path, work: Work = RUN_JOB) -> None:
        self.slots, self._logs, self._work = slots, logs, work
        self._heard: queue.SimpleQueue[Said | Done] = queue.SimpleQueue()
        self._idle: list[Worker] = []
        self._busy: dict[int, Worker] = {}

    @property
    def machine(self) -> MachineFacts:
        """This one."""
        return environment.describe()

    def __enter__(self) -> Local:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in (*self._idle, *self._busy.values()):
            worker.kill()

    def start(self, job: Job) -> None:
        """Give the job to an idle process, or to a new one."""
        log = self._logs / f"worker-{len(self._busy) + 1}.log"
        worker = self._idle.pop() if self._idle else Worker(log, self._work)
        self._busy[job.trial] = worker
        worker.start(job, self._heard)

    def wait(self) -> Said | Done:
        """The next that one of them says. A process that died is replaced by the next `start`."""
        heard = self._heard.get()
        if isinstance(heard, Done):
            worker = self._busy.pop(heard.job.trial)
            if worker.is_alive:
                self._idle.append(worker)
            else:
                worker.kill()
        return heard


class Worker:
    """A process that does one job after the other, and ends with this one."""

    def __init__(self, log: Path, work: Work) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as errors:
            # A session of its own: Ctrl-C reaches the search, which then ends its workers.
            self._process = subprocess.Popen(
                command("pipeline.search.places.worker", "main", *work, path=sys.path),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                encoding="utf-8",
                start_new_session=True,
            )
        self._log = log

    @property
    def is_alive(self) -> bool:
        """Whether it can take another job."""
        return self._process.poll() is None

    def start(self, job: Job, heard: queue.SimpleQueue[Said | Done]) -> None:
        """Send the job; a thread passes on what is answered."""
        if self._process.stdin is None:
            raise ValueError("the worker must be started with pipes")
        with contextlib.suppress(BrokenPipeError):  # A dead worker is noticed by its thread.
            self._process.stdin.write(job.model_dump_json() + "\n")
            self._process.stdin.flush()
        threading.Thread(target=self._listen, args=(job, heard), daemon=True).start()

    def _listen(self, job: Job, heard: queue.SimpleQueue[Said | Done]) -> None:
        for line in iter(self._next_line, ""):
            try:
                event = EVENT.validate_json(line)
            except ValidationError:
                break  # half a line of one that was killed
            if isinstance(event, Progress):
                heard.put(Said(job, event.text))
            else:
                heard.put(_done(job, event))
                return
        self._process.wait()
        message = f"the process of trial {job.trial} died"
        heard.put(Done(job, error=StageCrashed(message, f"what it printed: {self._log}")))

    def _next_line(self) -> str:
        """ "" where it has ended, also where `kill` has closed the pipe, in another thread."""
        try:
            return self._process.stdout.readline() if self._process.stdout else ""
        except ValueError:
            return ""

    def kill(self) -> None:
        """End it now; the processes of its stages notice and end too."""
        if self._process.poll() is None:
            if sys.platform == "win32":
                self._process.kill()
            else:
                with contextlib.suppress(OSError):
                    os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()


def _done(job: Job, event: Finished | Failed | Crashed) -> Done:
    if isinstance(event, Finished):
        kind = Tested if job.rung is None else RungResult
        return Done(job, kind.model_validate(event.measurements))
    if isinstance(event, Failed):
        return Done(job, error=KINDS[event.kind](event.message, event.hint))
    return Done(job, error=JobBug(event.message))
