"""Whether a node of a cluster can run trials: what it sees of the shared folder, and what it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.search.machine import facts
from stages.artifacts.file_lock import waiting
from stages.engines import environment
from stages.results.machine import MachineFacts


@dataclass(frozen=True)
class Seen:
    """What a node was found to be: why no trial can run there, or its machine."""

    fault: str = ""
    machine: MachineFacts | None = None


def see(file: Path, token: str, files: Sequence[Path]) -> Seen:
    """On a node, while the search holds the lock of `file`, which has the `token` in it."""
    try:
        is_shared = file.read_text(encoding="utf-8") == token
    except OSError:
        is_shared = False
    if not is_shared:
        return Seen(f"does not see the folder {str(file.parent)!r} of the search")
    try:
        with waiting(file, blocking=False):
            return Seen(f"does not see that {str(file.parent)!r} is locked: mount it with locks")
    except BlockingIOError:
        pass
    for each in files:
        if not each.exists():
            return Seen(f"does not see {str(each)!r}")
    return Seen(machine=environment.describe())


def difference(first: Seen, other: Seen) -> str:
    """What differs between two machines, of all that decides how fast an engine is."""
    if first.machine is None or other.machine is None:
        return ""
    ours, theirs = facts(first.machine), facts(other.machine)
    differing = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
    return ", ".join(f"{name} ({ours.get(name)}, {theirs.get(name)})" for name in differing)
