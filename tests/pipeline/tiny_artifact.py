"""One small artifact, of stage train."""

from __future__ import annotations

from pathlib import Path

from pipeline.core.record import Record
from pipeline.core.record import write as write_record
from pipeline.core.store import Store
from stages.results.base import StageResult


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


def content(root: Path) -> str | None:
    """What the artifact holds, None without one; fails unless the artifact is whole."""
    store = Store(root)
    record = store.read("train")
    if record is None:
        return None
    assert store.damage("train", record, in_full=True) == ()
    return (store.folder("train") / "model.keras").read_text()
