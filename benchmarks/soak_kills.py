"""Runs of the line that are killed at random moments; see soak.py."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.checks import verify
from pipeline.core.plan import Plan
from pipeline.core.store import Store
from pipeline.results import history

FOREIGN = "mine/letter.txt"
"""A file of the user in the artifact folder: nobody may touch it."""

LEFTOVERS = (".new-*", ".old-*", ".resume-*/*", "*.set-aside-*", ".[0-9]*-*")
DRAFT = ".new-*/record.json"
"""It appears right before an artifact takes its place."""

END_SECONDS = 20.0
VICTIMS = ("run", "stage", "all")


@dataclass(frozen=True)
class Line:
    """A line to kill within `seconds`: `command` runs it all, and takes two more options."""

    command: Sequence[str]
    plan: Plan
    root: Path
    seconds: float

    def start(self, seed: int, log: Path) -> subprocess.Popen[bytes]:
        """A run of all stages in a session of its own; another seed makes every stage stale."""
        options = ["--artifacts", str(self.root), "--set", f"train.seed={seed}"]
        with log.open("wb") as output:
            return subprocess.Popen(
                [*self.command, *options], stdout=output, stderr=output, start_new_session=True
            )


def kill_runs(line: Line, count: int, seed: int) -> Iterator[tuple[str, list[str]]]:
    """Kill `count` runs, each resuming what the one before left; then let one end.

    Yields where each was and what was lost; a run that ends before it is killed must end well, and
    the next one then has another seed.
    """
    log = line.root.with_name("run.log")
    run_seed = kills = 0
    while kills < count:
        draw = random.Random(f"{seed} kill {kills} {run_seed}")
        before = snapshot(line)
        run = line.start(run_seed, log)
        is_killed = _kill_at_random(run, line, draw)
        words = log.read_text(errors="replace")
        faults = _unfinished(run.pid) + _check(line, before) + _unfit(run, is_killed, words)
        _write_letter(line)
        kills += is_killed
        run_seed += not is_killed
        yield f"killed in {_stage(words)}" if is_killed else "not killed in time", faults
    run = line.start(run_seed, log)
    run.wait()
    left = [path for pattern in LEFTOVERS for path in line.root.glob(pattern)]
    faults = _unfit(run, False, log.read_text()) + _check(line, {})
    yield "not killed, at the end", faults + [f"left behind: {path}" for path in left]


def _kill_at_random(run: subprocess.Popen[bytes], line: Line, draw: random.Random) -> bool:
    """Kill the run, its stage or both, at any time or while an artifact is swapped in.

    False if it ended before.
    """
    victim, is_swap = draw.choice(VICTIMS), draw.random() < 0.5
    end = time.monotonic() + (line.seconds if is_swap else draw.uniform(0.0, line.seconds))
    former = set(line.root.glob(DRAFT))
    while time.monotonic() < end and run.poll() is None:
        if is_swap and set(line.root.glob(DRAFT)) - former:
            time.sleep(draw.uniform(0.0, 0.03))
            break
        time.sleep(0.001 if is_swap else 0.01)
    if run.poll() is not None:
        return False
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):
        _send(victim, run.pid)
    run.wait()
    return True


def _unfit(run: subprocess.Popen[bytes], is_killed: bool, words: str) -> list[str]:
    """What is wrong with how a run ended: 1 says that its stage was killed."""
    expected = (0, 1, -signal.SIGKILL) if is_killed else (0,)
    is_bug = "Traceback" in words or "this is a bug" in words
    if run.returncode in expected and not is_bug:
        return []
    return [f"exit code {run.returncode}: {words[-1000:]}"]


def _write_letter(line: Line) -> None:
    letter = line.root / FOREIGN
    if line.root.is_dir() and not letter.exists():
        letter.parent.mkdir(exist_ok=True)
        letter.write_text("mine")


def _send(victim: str, pid: int) -> None:
    if victim == "all":
        os.killpg(pid, signal.SIGKILL)
        return
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    os.kill(int(children[0]) if victim == "stage" and children else pid, signal.SIGKILL)


def _unfinished(session: int) -> list[str]:
    """Processes of the killed run that outlive it by long."""
    end = time.monotonic() + END_SECONDS
    while alive := list(_members(session)):
        if time.monotonic() > end:
            os.killpg(session, signal.SIGKILL)
            return [f"after {END_SECONDS:.0f} s still alive: {alive}"]
        time.sleep(0.05)
    return []


def _members(session: int) -> Iterator[int]:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, of = stat.read_text().rsplit(")", 1)[1].split()[:4]
            if int(of) == session and state != "Z":
                yield int(stat.parent.name)


def snapshot(line: Line) -> dict[str, bytes]:
    """What must not be lost: names of the artifacts that are there, the history, a user's file."""
    files = {stage.name: b"" for stage in line.plan if Store(line.root, line.plan).read(stage.name)}
    for name in (history.FILE, FOREIGN):
        file = line.root / name
        files[name] = file.read_bytes() if file.exists() else b""
    return files


def _check(line: Line, before: dict[str, bytes]) -> list[str]:
    """What is damaged, and what of `before` is gone."""
    store = Store(line.root, line.plan)
    damaged = [fault for each in verify.check(store, line.plan) for fault in each.faults]
    after = snapshot(line) if not damaged else before
    lost = [
        f"{name} is not what it was"
        for name, content in before.items()
        if name not in after or not after[name].startswith(content)
    ]
    return damaged + lost


def _stage(words: str) -> str:
    """The stage that the run was in, by what it printed."""
    started = [line.split()[0] for line in words.splitlines() if " starts (" in line]
    return started[-1] if started else "no stage yet"
