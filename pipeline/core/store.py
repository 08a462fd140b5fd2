"""The artifact store: one folder per stage, with a record of what made it and of every file.

    artifacts/train/record.json, model.keras, ...    an artifact, always whole
    artifacts/.new-train-1234/                       the one that process 1234 is writing
    artifacts/.old-train/                            the former one, while the two are swapped
    artifacts/train.set-aside-1/                     what was in its place, and is not ours
    artifacts/.resume-train/<key>/                   what a killed stage resumes from
    artifacts/.logs/train.log                        what the stage last printed
    artifacts/.logs/train/                           its learning curves, for TensorBoard
    artifacts/.hashes.json, .lock                    see hashing.py and lock.py

A process may be killed at any moment: `train` is then the old artifact or the new one, or
missing beside a whole `.old-train`, which `folder` reads and `recover` puts back. The same holds
after a power failure: every file is on the disk before the swap, and the swap before the former
artifact is deleted.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from pipeline.core import record as records
from pipeline.core.hashing import Hashes, hash_file
from pipeline.core.plan import PLAN, Plan
from pipeline.core.record import FileEntry, Record
from stages.artifacts.atomic import sync, sync_all
from stages.errors import ArtifactError
from stages.results.base import StageResult

KEY = re.compile("[0-9a-f]{64}")

DRAFT = re.compile(r"\.\d+-(\.hashes\.json|report\.(json|md|html))")
"""What a run that was killed within `replacing` leaves of the files beside the artifacts."""


class Store:
    """The artifact folder `root`. Only `writing`, `discard` and `recover` change an artifact."""

    def __init__(self, root: Path, plan: Plan = PLAN) -> None:
        self.root = root
        self._results = {stage.name: stage.result for stage in plan}
        self.hashes = Hashes(root / ".hashes.json")
        self.set_aside: list[Path] = []
        """Folders that stood in the way of an artifact and hold what no record says we made."""

    def folder(self, stage: str) -> Path:
        """Where the artifact of `stage` is, whether or not there is one."""
        current, former = self.root / stage, self.root / f".old-{stage}"
        return former if former.exists() and not current.exists() else current

    def log(self, stage: str) -> Path:
        """Where the output of `stage` goes; it survives a stage that fails."""
        return self.root / ".logs" / f"{stage}.log"

    def resume(self, stage: str, key: str) -> Path:
        """Where `stage` keeps what an artifact with this key can resume from after a kill.

        What it kept for other keys is deleted: it belongs to other settings or inputs.
        """
        for other in self._kept(stage):
            if other.name != key:
                shutil.rmtree(other, ignore_errors=True)
        return self.root / f".resume-{stage}" / key

    def forget(self, stage: str, key: str | None = None) -> None:
        """Delete what `stage` kept to resume from: for the artifact with this key, or for all."""
        for kept in self._kept(stage):
            if key in (None, kept.name):
                shutil.rmtree(kept, ignore_errors=True)
        with contextlib.suppress(OSError):
            (self.root / f".resume-{stage}").rmdir()

    def _kept(self, stage: str) -> list[Path]:
        """What `stage` kept, by key: other names in its folder are not ours."""
        folders = (self.root / f".resume-{stage}").glob("*")
        return [folder for folder in folders if KEY.fullmatch(folder.name)]

    def read(self, stage: str) -> Record | None:
        """The record of `stage`, or None without an artifact.

        Raises ArtifactError for a `record.json` that is truncated, foreign or not of this version.
        """
        file = self.folder(stage) / records.FILE
        try:
            raw = file.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise ArtifactError(f"{file} cannot be read: {error.strerror}") from error
        try:
            return records.parse(raw, stage, self._results.get(stage, StageResult))
        except ValueError as error:
            raise ArtifactError(
                f"{file} is damaged: {error}", f"run: pipeline run {stage}"
            ) from error

    def read_all(self, stages: Iterable[str]) -> tuple[dict[str, Record], list[str]]:
        """The records of `stages`, where there are some, and what is wrong with the others."""
        records, faults = {}, []
        for stage in stages:
            try:
                if record := self.read(stage):
                    records[stage] = record
            except ArtifactError as error:
                faults.append(error.message)
        return records, faults

    def damage(self, stage: str, record: Record, in_full: bool = False) -> tuple[str, ...]:
        """What differs between the recorded files of `stage` and those on disk, in words.

        Files that look unchanged are believed to be, unless every byte is to be read `in_full`:
        a disk that loses bits changes neither size nor times.
        """
        folder, hash_of = self.folder(stage), hash_file if in_full else self.hashes.of
        return tuple(
            f"{folder / name} {fault}"
            for name, expected in record.files.items()
            if (fault := _fault(folder / name, expected, hash_of))
        )

    @contextlib.contextmanager
    def writing(self, stage: str) -> Iterator[Path]:
        """An empty folder that becomes the artifact of `stage` if the block ends well.

        Its name holds the process number, so that a stage that outlives a killed run by a
        moment cannot write into the folder of the next run.
        """
        draft = self.root / f".new-{stage}-{os.getpid()}"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        try:
            yield draft
            self._swap(stage, draft)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _swap(self, stage: str, draft: Path) -> None:
        current, former = self.root / stage, self.root / f".old-{stage}"
        # The order is what survives a power failure: the data, then both
        # renames, then the old artifact may go.
        sync_all(draft)
        if current.exists():
            current.rename(former)
        draft.rename(current)
        sync(self.root)
        self._discard(stage, former)

    def discard(self, stage: str) -> None:
        """Delete the artifact of `stage` as far as its record says that we made it."""
        self._discard(stage, self.folder(stage))

    def _discard(self, stage: str, folder: Path) -> None:
        """Delete what the record in `folder` says that we made; set aside whatever else is there.

        The record goes last, so that a process killed in between can finish.
        Raises OSError where something of ours cannot be deleted.
        """
        if not folder.exists():
            return
        record = self._recorded(folder, stage)
        if record is not None:
            ours = folder.resolve()
            for file in (folder / name for name in (*record.files, records.FILE)):
                if file.parent.resolve().is_relative_to(ours):  # No link leads elsewhere.
                    file.unlink(missing_ok=True)
        # In reverse, so that what is inside a folder comes before the folder.
        for below in sorted(folder.rglob("*"), reverse=True):
            if below.is_dir() and not below.is_symlink():
                _remove_if_empty(below)
        _remove_if_empty(folder)
        if folder.exists():
            aside = self._free_name(stage)
            folder.rename(aside)
            self.set_aside.append(aside)

    def _recorded(self, folder: Path, stage: str) -> Record | None:
        """The record in `folder`, None where nothing proves that the stage made it."""
        try:
            raw = (folder / records.FILE).read_bytes()
            return records.parse(raw, stage, self._results.get(stage, StageResult))
        except (OSError, ValueError):
            return None

    def _free_name(self, stage: str) -> Path:
        numbers = itertools.count(1)
        places = (self.root / f"{stage}.set-aside-{number}" for number in numbers)
        return next(place for place in places if not os.path.lexists(place))

    def recover(self) -> None:
        """Finish or undo what a killed run left. Only the holder of the lock may call this."""
        for stage in self._results:
            former, current = self.root / f".old-{stage}", self.root / stage
            if former.exists() and not current.exists():
                former.rename(current)
            self._discard(stage, former)
            for draft in self.root.glob(f".new-{stage}-*"):
                if draft.name.removeprefix(f".new-{stage}-").isdecimal():
                    shutil.rmtree(draft, ignore_errors=True)
        for file in self.root.glob(".*"):
            if DRAFT.fullmatch(file.name):
                with contextlib.suppress(OSError):
                    file.unlink()

    def list_files(self, folder: Path) -> dict[str, FileEntry]:
        """All files below `folder` by name, for its record."""
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return {
            file.relative_to(folder).as_posix(): FileEntry(
                sha256=self.hashes.of(file), size_bytes=file.stat().st_size
            )
            for file in files
        }


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


def _fault(file: Path, expected: FileEntry, hash_of: Callable[[Path], str]) -> str:
    """What is wrong with a file, "" if nothing is."""
    try:
        if file.stat().st_size != expected.size_bytes:
            return "has another size than recorded"
        return "" if hash_of(file) == expected.sha256 else "changed on disk"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
