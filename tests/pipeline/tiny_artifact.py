"""One small artifact; and a process that is killed while it writes one.

`python tiny_artifact.py ROOT STEP TEXT` dies of SIGKILL before its file operation STEP.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from pipeline.core.record import Record
from pipeline.core.record import write as write_record
from pipeline.core.store import Store
from stages.results.base import StageResult

FILE_OPERATIONS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree"}


def record_of(store: Store, folder: Path) -> Record:
    return Record(
        stage="train",
        revision=1,
        key="k",
        settings={},
        external={},
        inputs={},
        environment={},
        started_at="2026-01-01T00:00:00+00:00",
        seconds=1.0,
        files=store.list_files(folder),
        measurements=StageResult(),
    )


def write(root: Path, text: str) -> None:
    """Write an artifact of stage train that holds `text`."""
    store = Store(root)
    with store.writing("train") as folder:
        (folder / "model.keras").write_text(text)
        (folder / "extra").mkdir()
        (folder / "extra/a.txt").write_text(text)
        write_record(record_of(store, folder), folder)


def die_before_operation(step: int) -> None:
    left = step

    def count(event: str, _: tuple[object, ...]) -> None:
        nonlocal left
        if event in FILE_OPERATIONS:
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)


if __name__ == "__main__":
    die_before_operation(int(sys.argv[2]))
    write(Path(sys.argv[1]), sys.argv[3])
