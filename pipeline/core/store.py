"""The artifact store: one folder per stage, with a record of what made it and of every file.

    artifacts/train/record.json, model.keras, ...    an artifact, always whole
    artifacts/.new-train-1234/                       the one that process 1234 is writing
    artifacts/.old-train/                            the former one, while the two are swapped
    artifacts/.resume-train/<key>/                   what a killed stage had done, to go on from
    artifacts/.logs/train.log                        what the stage last printed
    artifacts/.logs/train/                           its learning curves, for TensorBoard
    artifacts/.hashes.json, .lock                    see hashing.py and lock.py

A process may be killed at any moment: `train` is then the old artifact or the new one, or
missing beside a whole `.old-train`, which `folder` reads and `recover` puts back.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline.core import record as records
from pipeline.core.hashing import Hashes
from pipeline.core.plan import PLAN, Plan
from pipeline.core.record import FileEntry, Record
from stages.errors import ArtifactError
from stages.results.base import StageResult


class Store:
    """The artifact folder `root`. Only `writing` and `recover` change an artifact."""

    def __init__(self, root: Path, plan: Plan = PLAN) -> None:
        self.root = root
        self._results = {stage.name: stage.result for stage in plan}
        self.hashes = Hashes(root / ".hashes.json")

    def folder(self, stage: str) -> Path:
        """Where the artifact of `stage` is, whether or not there is one."""
        current, former = self.root / stage, self.root / f".old-{stage}"
        return former if former.exists() and not current.exists() else current

    def log(self, stage: str) -> Path:
        """Where the output of `stage` goes; it survives a stage that fails."""
        return self.root / ".logs" / f"{stage}.log"

    def resume(self, stage: str, key: str) -> Path:
        """Where `stage` keeps what an artifact with this key can go on from after a kill.

        What it kept for other keys is deleted: it belongs to other settings or inputs.
        """
        folder = self.root / f".resume-{stage}"
        for other in folder.glob("*"):
            if other.name != key:
                shutil.rmtree(other, ignore_errors=True)
        return folder / key

    def forget(self, stage: str) -> None:
        """Delete what `stage` kept to go on from."""
        shutil.rmtree(self.root / f".resume-{stage}", ignore_errors=True)

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

    def damage(self, stage: str, record: Record) -> tuple[str, ...]:
        """What differs between the recorded files of `stage` and those on disk, in words."""
        folder = self.folder(stage)
        return tuple(
            f"{folder / name} {fault}"
            for name, expected in record.files.items()
            if (fault := self._fault(folder / name, expected))
        )

    def _fault(self, file: Path, expected: FileEntry) -> str:
        try:
            if file.stat().st_size != expected.size_bytes:
                return "has another size than recorded"
            return "" if self.hashes.of(file) == expected.sha256 else "changed on disk"
        except FileNotFoundError:
            return "is missing"
        except OSError as error:
            return f"cannot be read: {error.strerror}"

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
        if current.exists():
            current.rename(former)
        draft.rename(current)
        shutil.rmtree(former, ignore_errors=True)

    def recover(self) -> None:
        """Finish or undo what a killed run left. Only the holder of the lock may call this."""
        for former in self.root.glob(".old-*"):
            current = self.root / former.name.removeprefix(".old-")
            if current.exists():
                shutil.rmtree(former, ignore_errors=True)
            else:
                former.rename(current)
        for draft in self.root.glob(".new-*"):
            shutil.rmtree(draft, ignore_errors=True)

    def list_files(self, folder: Path) -> dict[str, FileEntry]:
        """All files below `folder` by name, for its record."""
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return {
            file.relative_to(folder).as_posix(): FileEntry(
                sha256=self.hashes.of(file), size_bytes=file.stat().st_size
            )
            for file in files
        }
