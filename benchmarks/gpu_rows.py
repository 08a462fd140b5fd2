"""Files to which every line is written at once, and children that may hang or crash."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LAST_WORDS = 300
PR_SET_PDEATHSIG = 1
STOPPED = "stopped"


def append(file: Path, row: dict[str, Any]) -> None:
    """Write `row` as a line that survives whatever happens to this process or machine next."""
    with file.open("a") as stream:
        stream.write(json.dumps(row) + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def read(file: Path, *keys: str) -> list[dict[str, Any]]:
    """The rows of `file`; lines that agree in `keys` are one row. No file: no rows.

    The last line may have been cut off; what it held is lost.
    """
    merged: dict[Any, dict[str, Any]] = {}
    for number, line in enumerate(file.read_text().splitlines() if file.exists() else ()):
        with suppress(ValueError):
            row = json.loads(line)
            key = tuple(row.get(key) for key in keys) if keys else number
            merged.setdefault(key, {}).update(row)
    return list(merged.values())


def _end_with_parent() -> None:
    """A child of a child is in no group of the first, and must not keep the GPU (prctl(2))."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def run(words: Sequence[object], seconds: float, log: Path, **environment: str) -> str:
    """Run a child, its output at the end of `log`; "" if it ended well, else what became of it.

    After `seconds` it is killed, with whatever it has started.
    """
    start = log.stat().st_size if log.exists() else 0
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    with log.open("a") as output:
        if shutil.which(str(words[0])) is None:
            return f"{words[0]} is not on this machine"
        child = subprocess.Popen(
            [*map(str, words)],
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **environment},
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )
        try:
            code = child.wait(max(1.0, seconds))
        except subprocess.TimeoutExpired:
            return f"{STOPPED} after {seconds:.0f} s"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    if code == 0:
        return ""
    said = log.read_bytes()[start:].decode(errors="replace").strip()[-LAST_WORDS:]
    return f"ended with {code}: {said}"
