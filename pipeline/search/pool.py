"""Artifacts that trials share: a stage with the same key is made once, whoever needs it first.

    pool/<key>/<stage>/    one artifact, with its record
    pool/<key>/.making     locked by whoever makes it, while the others wait

Files are shared by hard links where the file system has them, else copied. No stage changes a file
in place (store.py), so that what is linked stays as it was recorded. Whatever is lent is read in
full and compared with its record first. Stages that time engines run alone on the machine.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.core import record as records
from pipeline.core.plan import Plan, Stage
from pipeline.core.record import Record
from pipeline.core.store import KEY, Store
from stages.artifacts.file_lock import waiting
from stages.errors import ArtifactError
from stages.measurement.alone import alone_on_machine

MAKING = ".making"


class Pool:
    """The pool below `root`; `base`, the artifact folder of the line itself, lends as well.

    `on_wait` is called before a stage waits for the machine.
    """

    def __init__(
        self,
        root: Path,
        plan: Plan,
        base: Path | None = None,
        on_wait: Callable[[], None] = lambda: None,
    ) -> None:
        self._root, self._plan, self._on_wait = root, plan, on_wait
        self._base = None if base is None else Store(base, plan)

    @contextlib.contextmanager
    def lent(self, stage: Stage, key: str, store: Store) -> Iterator[bool]:
        """See runner.Shelf: what the block makes in `store` is kept for the others."""
        folder = self._root / key
        folder.mkdir(parents=True, exist_ok=True)
        with waiting(folder / MAKING):
            shelf = Store(folder, self._plan)
            for source in filter(None, (shelf, self._base)):
                if _has_sound(source, stage.name, key) and _taken(source, store, stage.name):
                    yield True
                    return
            shelf.discard(stage.name)
            is_timed = stage.process == "engine"
            with alone_on_machine(self._on_wait) if is_timed else contextlib.nullcontext():
                yield False
            if _has_sound(store, stage.name, key):
                share(store, shelf, stage.name)

    def sweep(self, kept: tuple[str, ...]) -> None:
        """Delete what no trial has linked any more, but for the stages `kept`.

        What is being made is left alone. Where files were copied, links say nothing, and all of
        these stages goes: whoever needs it again makes it again.
        """
        for shelf in self._idle_shelves():
            for stage in self._plan:
                file = shelf.root / stage.name / records.FILE
                if stage.name not in kept and file.is_file() and file.stat().st_nlink == 1:
                    shelf.discard(stage.name)

    def recover(self) -> None:
        """Finish or undo what trials that were killed left."""
        for shelf in self._idle_shelves():
            shelf.recover()

    def _idle_shelves(self) -> Iterator[Store]:
        """Each locked until the next one is asked for; without those that somebody uses."""
        for folder in self._root.glob("*"):
            if not KEY.fullmatch(folder.name) or not folder.is_dir():
                continue
            with contextlib.suppress(BlockingIOError), waiting(folder / MAKING, blocking=False):
                yield Store(folder, self._plan)


def share(source: Store, target: Store, stage: str) -> None:
    """Let `target` have the artifact of `stage` that `source` has, with its record."""
    record = source.read(stage)
    if record is None:
        raise ArtifactError(f"{source.folder(stage)} holds no artifact of {stage}")
    folder = source.folder(stage)
    with target.writing(stage) as draft:
        for name in (*record.files, records.FILE):
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            _link(folder / name, draft / name)


def _taken(source: Store, target: Store, stage: str) -> bool:
    """Whether `target` has the artifact now: a run may replace one of the line at any moment."""
    try:
        share(source, target, stage)
    except (FileNotFoundError, ArtifactError):
        return False
    return True


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def _has_sound(store: Store, stage: str, key: str) -> Record | None:
    """The record of the artifact with this key, whose every byte is as it says; else None."""
    try:
        record = store.read(stage)
    except ArtifactError:
        return None
    if record is None or record.key != key or store.damage(stage, record, in_full=True):
        return None
    return record
