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
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.core.hashing import Hashes
from stages.errors import ArtifactError

RECORD = "record.json"
RECORD_VERSION = 1

Record = dict[str, Any]

FIELDS: dict[str, type] = {
    "record_version": int,
    "stage": str,
    "revision": int,
    "key": str,
    "settings": dict,
    "external": dict,
    "inputs": dict,
    "environment": dict,
    "started_at": str,
    "seconds": float,
    "files": dict,
    "measurements": dict,
}


class Store:
    """The artifact folder `root`. Only `writing` and `recover` change an artifact."""

    def __init__(self, root: Path) -> None:
        self.root = root
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

        Raises ArtifactError if there is a `record.json` that is truncated or foreign.
        """
        file = self.folder(stage) / RECORD
        try:
            raw = file.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise ArtifactError(f"{file} cannot be read: {error.strerror}") from error
        try:
            return _record(json.loads(raw), stage)
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
            for name, expected in record["files"].items()
            if (fault := self._fault(folder / name, expected))
        )

    def _fault(self, file: Path, expected: Mapping[str, Any]) -> str:
        try:
            if file.stat().st_size != expected["size_bytes"]:
                return "has another size than recorded"
            return "" if self.hashes.of(file) == expected["sha256"] else "changed on disk"
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

    def list_files(self, folder: Path) -> dict[str, dict[str, Any]]:
        """Name -> {"sha256", "size_bytes"} of all files below `folder`, for its record."""
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return {
            file.relative_to(folder).as_posix(): {
                "sha256": self.hashes.of(file),
                "size_bytes": file.stat().st_size,
            }
            for file in files
        }


def write_record(folder: Path, record: Record) -> None:
    """Write `record.json` into `folder` and see it safely on the disk."""
    with (folder / RECORD).open("w", encoding="utf-8") as file:
        json.dump(record, file, indent=1, allow_nan=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())


def _record(raw: Any, stage: str) -> Record:
    """`raw` if it is a record of `stage`. Raises ValueError."""
    if not isinstance(raw, dict):
        raise ValueError("it holds no JSON object")
    if wrong := [name for name, kind in FIELDS.items() if not isinstance(raw.get(name), kind)]:
        raise ValueError(f"it lacks {', '.join(wrong)}")
    if raw["record_version"] != RECORD_VERSION:
        raise ValueError(f"it has version {raw['record_version']}, expected {RECORD_VERSION}")
    if raw["stage"] != stage:
        raise ValueError(f"it belongs to stage {raw['stage']!r}")
    if not all(_is_file_entry(entry) for entry in raw["files"].values()):
        raise ValueError("its list of files is wrong")
    return raw


def _is_file_entry(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("sha256"), str)
        and isinstance(entry.get("size_bytes"), int)
    )
