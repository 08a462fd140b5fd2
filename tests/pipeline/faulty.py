"""File operations of which one fails, as in the tests of SQLite: https://www.sqlite.org/testing.html

`attempt(action, Fault(step, kind))` runs `action` in a forked child whose file operation `step`
fails: with an error of the system, or because the process is killed right before it, right after
it, or with half of the data written.
"""

from __future__ import annotations

import errno
import functools
import io
import os
import pathlib
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from stages.errors import UserError

Kind = Literal["ENOSPC", "EIO", "EINTR", "kill before", "kill after", "kill within"]
Ending = Literal["ended", "raised", "killed", "never"]
KINDS: tuple[Kind, ...] = ("ENOSPC", "EIO", "EINTR", "kill before", "kill after", "kill within")

OPERATIONS = ("open", "mkdir", "rename", "replace", "unlink", "remove", "rmdir")
OPERATIONS += ("fsync", "ftruncate", "truncate", "scandir", "listdir")

ENDED, RAISED, BROKE, NEVER = range(4)
"""Exit codes of the child: RAISED what a user can act on, BROKE on anything else."""


@dataclass(frozen=True)
class Fault:
    """What befalls operation number `step`, counted from 0."""

    step: int
    kind: Kind


def attempt(action: Callable[[], None], fault: Fault) -> Ending:
    """Run `action` in a child with this fault; "never" if it has fewer operations.

    Raises AssertionError if it ends in an exception that is neither OSError nor UserError.
    """
    child = os.fork()
    if child == 0:
        os._exit(_run(action, _Counter(fault)))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    endings: dict[int, Ending] = {
        ENDED: "ended", RAISED: "raised", NEVER: "never", -signal.SIGKILL: "killed"
    }  # fmt: skip
    assert status in endings, f"{fault}: exit status {status}"
    return endings[status]


def each_fault(kinds: tuple[Kind, ...] = KINDS) -> Iterator[Fault]:
    """Every kind of fault at every operation, without end."""
    step = 0
    while True:
        yield from (Fault(step, kind) for kind in kinds)
        step += 1


def _run(action: Callable[[], None], counter: _Counter) -> int:
    _install(counter)
    try:
        action()
    except (OSError, UserError):
        return RAISED
    except BaseException:
        traceback.print_exc(file=sys.stderr)
        sys.stderr.flush()
        return BROKE
    return ENDED if counter.is_reached else NEVER


class _Counter:
    """Counts operations, and lets the one of `fault` fail."""

    def __init__(self, fault: Fault) -> None:
        self._fault = fault
        self._count = 0

    @property
    def is_reached(self) -> bool:
        return self._count > self._fault.step

    def do(self, call: Callable[[], Any], half: Callable[[], Any] = lambda: None) -> Any:
        """`call()`, unless it is its turn; `half` does a part of it."""
        self._count += 1
        if self._count - 1 != self._fault.step:
            return call()
        kind = self._fault.kind
        if kind == "kill after":
            call()
        elif kind == "kill within":
            half()
        elif kind != "kill before":
            code = getattr(errno, kind)
            raise OSError(code, os.strerror(code))
        os.kill(os.getpid(), signal.SIGKILL)


def _install(counter: _Counter) -> None:
    """Put every file operation under `counter`, for the rest of this process."""
    accessor = getattr(pathlib, "_NormalAccessor", None)  # Python 3.10 keeps its own references.
    for name in OPERATIONS:
        faulty = _faulty(getattr(os, name), counter)
        setattr(os, name, faulty)
        if hasattr(accessor, name):
            setattr(accessor, name, staticmethod(faulty))
    files = functools.partial(_open, counter)
    io.open = files  # type: ignore[assignment]
    if hasattr(accessor, "open"):
        accessor.open = staticmethod(files)  # type: ignore[union-attr]


def _faulty(call: Callable[..., Any], counter: _Counter) -> Callable[..., Any]:
    @functools.wraps(call)
    def faulty(*arguments: Any, **options: Any) -> Any:
        return counter.do(lambda: call(*arguments, **options))

    return faulty


def _open(
    counter: _Counter,
    file: Any,
    mode: str = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
) -> Any:
    """As `io.open`, of a file whose reads and writes are counted as well."""
    letters = mode.replace("b", "").replace("t", "")
    raw: _File = counter.do(lambda: _File(file, letters, closefd))
    raw.counter = counter
    if buffering == 0:
        return raw
    kinds = {True: io.BufferedRandom, False: io.BufferedReader if mode[0] == "r" else None}
    kind = kinds["+" in mode] or io.BufferedWriter
    buffered = kind(raw)
    return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)  # type: ignore[type-var]


class _File(io.FileIO):
    counter: _Counter

    def write(self, data: Any) -> int:
        whole, write = bytes(data), super().write
        half = whole[: len(whole) // 2]
        written: int = self.counter.do(lambda: write(whole), lambda: write(half))
        return written

    def truncate(self, size: int | None = None) -> int:
        cut = super().truncate
        result: int = self.counter.do(lambda: cut(size))
        return result

    def read(self, size: int | None = -1) -> Any:
        read = super().read
        return self.counter.do(lambda: read(size))

    def readinto(self, buffer: Any) -> Any:
        read = super().readinto
        return self.counter.do(lambda: read(buffer))

    def readall(self) -> Any:
        read = super().readall
        return self.counter.do(lambda: read())
