"""The engines that were wanted: what the build stage made of each, and why some are missing.

It travels as `engines.json` with the engine files, so that the benchmark, which may run on
another machine, knows them all.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.artifacts.signature import Signature
from stages.engines import amx, registry
from stages.engines.base import Blocker, Engine
from stages.engines.registry import ENGINES, Precision
from stages.errors import EngineError
from stages.settings import Backend

FILE = "engines.json"

BASELINE = "baseline.onnxruntime.fp32.onnx"
"""The trained, unpruned model as a float32 engine: the yardstick, and never in the list."""


@dataclass(frozen=True)
class Entry:
    """One engine; `file`, `state`, `reason` and `fix` are as in report.json."""

    backend: Backend
    precision: Precision
    file: str | None = None
    state: str = "unavailable"
    reason: str | None = None
    fix: str | None = None

    @property
    def name(self) -> str:
        """As in "litert.int8"."""
        return f"{self.backend}.{self.precision}"

    def built(self, file: Path) -> Entry:
        """The same with its engine file."""
        return dataclasses.replace(self, file=file.name, state="built_not_run")

    def ran(self) -> Entry:
        """The same after it has run here."""
        return dataclasses.replace(self, state="ran", reason=None, fix=None)

    def stopped(self, error: EngineError) -> Entry:
        """The same with the reason why it came no further."""
        state = "built_not_run" if self.file else "unavailable"
        return dataclasses.replace(self, state=state, reason=error.message, fix=error.hint or None)


def write(entries: Iterable[Entry], folder: Path) -> None:
    """Write `engines.json` into `folder`."""
    rows = [dataclasses.asdict(entry) for entry in entries]
    (folder / FILE).write_text(json.dumps(rows, indent=2) + "\n")


def read(folder: Path) -> list[Entry]:
    """Read `engines.json` from `folder`."""
    return [Entry(**row) for row in json.loads((folder / FILE).read_text())]


def opening_order(entries: Iterable[Entry], folder: Path) -> list[Entry]:
    """`entries` in the order in which one process must open them.

    A library that is to go without AMX must be first used before another has been granted it
    for the whole process: ONNX Runtime, LiteRT by the remark in the file, then OpenVINO.
    """
    backends = list(ENGINES)

    def place(entry: Entry) -> tuple[int, bool]:
        declines = entry.file is not None and amx.is_unwanted(folder / entry.file)
        return backends.index(entry.backend), not declines

    return sorted(entries, key=place)


def require(blocker: Blocker | None) -> None:
    """Raise a blocker as an EngineError."""
    if blocker is not None:
        raise EngineError(blocker.reason, blocker.fix)


def runner(entry: Entry, folder: Path, signature: Signature, threads: int) -> Engine:
    """The engine of `entry`, not opened yet. Raises EngineError where it cannot run here."""
    module = registry.load(entry.backend)
    require(module.run_blocker())
    return module.Runner(folder / str(entry.file), signature, threads)


def chosen(
    table: Sequence[dict[str, Any]], choice: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any] | None:
    """The row of the engine that was chosen for the smallest batch, if it was timed.

    `choice` is that of choice.py; without one, or if it did not run, the fastest.
    """
    wanted = choice[min(choice, key=int)]["engine"] if choice else None
    named = [
        row for row in table if row["latency"] and f"{row['backend']}.{row['precision']}" == wanted
    ]
    return named[0] if named else fastest(table)


def fastest(table: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The row of an engine table with the lowest p50 at the smallest batch; None if none ran."""
    ranked = [
        (row["batch_size"], row["p50_ms"], index)
        for index, engine in enumerate(table)
        for row in engine["latency"]
    ]
    return table[min(ranked)[2]] if ranked else None


def summary(best: dict[str, Any] | None, file: str | None) -> dict[str, Any]:
    """A stage's `model`, `accuracy` and `latency`: those of `best`, else `file` alone."""
    return {
        "model": {
            "file": best["file"] if best else file,
            "parameters": None,
            "multiply_adds": None,
        },
        "accuracy": best["accuracy"] if best else None,
        "latency": best["latency"] if best else [],
    }
