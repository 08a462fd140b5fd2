from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_artifact
from tiny_artifact import content

from pipeline.core.record import FILE as RECORD
from pipeline.core.seal import opened, sealed
from pipeline.core.store import Store
from stages.errors import ArtifactError

OLD, NEW = "old weights", "the new weights"


def names(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


def test_an_artifact_is_there_with_its_record_when_the_block_ends(tmp_path: Path) -> None:
    tiny_artifact.write(tmp_path, OLD)
    assert content(tmp_path) == OLD
    assert names(tmp_path) == ["train"]


def test_a_second_artifact_takes_the_place_of_the_first(tmp_path: Path) -> None:
    tiny_artifact.write(tmp_path, OLD)
    tiny_artifact.write(tmp_path, NEW)
    assert content(tmp_path) == NEW
    assert names(tmp_path) == ["train"]


def test_a_block_that_fails_leaves_the_old_artifact_and_nothing_else(tmp_path: Path) -> None:
    tiny_artifact.write(tmp_path, OLD)
    with pytest.raises(FileNotFoundError), Store(tmp_path).writing("train") as folder:
        shutil.copy(tmp_path / "nowhere", folder)
    assert content(tmp_path) == OLD
    assert names(tmp_path) == ["train"]


def test_everything_is_on_the_disk_before_the_former_artifact_is_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_artifact.write(tmp_path, OLD)
    events: list[str] = []
    fsync, rename, unlink = os.fsync, Path.rename, Path.unlink

    def short(path: Path | str) -> str:
        return os.path.relpath(path, tmp_path).replace(f".new-train-{os.getpid()}", "draft")

    def logged_fsync(descriptor: int) -> None:
        events.append(f"sync {short(os.readlink(f'/proc/self/fd/{descriptor}'))}")
        fsync(descriptor)

    def logged_rename(self: Path, target: Path) -> Path:
        events.append(f"rename {short(self)} {short(target)}")
        return rename(self, target)

    def logged_unlink(self: Path, missing_ok: bool = False) -> None:
        events.append(f"unlink {short(self)}")
        unlink(self, missing_ok)

    monkeypatch.setattr(os, "fsync", logged_fsync)
    monkeypatch.setattr(Path, "rename", logged_rename)
    monkeypatch.setattr(Path, "unlink", logged_unlink)
    tiny_artifact.write(tmp_path, NEW)
    swap = events.index("rename train .old-train")
    assert set(events[: swap - 1]) == {
        *("sync draft/extra/a.txt", "sync draft/extra"),
        *("sync draft/model.keras", "sync draft/record.json"),
    }
    assert events[swap - 1 : swap + 3] == [
        *("sync draft", "rename train .old-train", "rename draft train", "sync ."),
    ]
    deleted = events[swap + 3 :]
    assert deleted[-1] == "unlink .old-train/record.json"
    assert all(event.startswith("unlink .old-train/") for event in deleted)


def test_the_stage_can_be_written_again_after_a_kill_in_the_swap(tmp_path: Path) -> None:
    tiny_artifact.write(tmp_path, OLD)
    (tmp_path / "train").rename(tmp_path / ".old-train")
    assert content(tmp_path) == OLD
    Store(tmp_path).recover()
    tiny_artifact.write(tmp_path, NEW)
    assert content(tmp_path) == NEW
    assert names(tmp_path) == ["train"]


def test_a_stage_without_an_artifact_has_no_record(tmp_path: Path) -> None:
    assert Store(tmp_path / "nowhere").read("train") is None
    assert Store(tmp_path / "nowhere").read_all(["train", "prune"]) == ({}, [])


@pytest.mark.parametrize("name", ["model.keras", "extra/a.txt"])
@pytest.mark.parametrize("length", range(len(OLD)))
def test_a_truncated_file_is_damage(tmp_path: Path, name: str, length: int) -> None:
    tiny_artifact.write(tmp_path, OLD)
    file = tmp_path / "train" / name
    os.truncate(file, length)
    store = Store(tmp_path)
    record = store.read("train")
    assert record
    assert store.damage("train", record) == (f"{file} has another size than recorded",)


def test_a_record_truncated_anywhere_is_refused_with_its_name(tmp_path: Path) -> None:
    tiny_artifact.write(tmp_path, OLD)
    file = tmp_path / "train" / RECORD
    whole = file.read_text().rstrip()
    for length in range(len(whole)):
        file.write_text(whole[:length])
        with pytest.raises(ArtifactError, match=r"train/record\.json is damaged") as caught:
            Store(tmp_path).read("train")
        assert caught.value.hint == "run: pipeline run train"


def reseal(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a record as somebody who knows about seals would."""
    content = opened(file.read_bytes())
    change(content)
    file.write_bytes(sealed(content, 1))


def spoil_version(record: dict[str, Any]) -> None:
    record["record_version"] = 3


def spoil_stage(record: dict[str, Any]) -> None:
    record["stage"] = "prune"


def spoil_key(record: dict[str, Any]) -> None:
    del record["key"]


def spoil_hash(record: dict[str, Any]) -> None:
    record["files"]["model.keras"]["sha256"] = None


def spoil_file(record: dict[str, Any]) -> None:
    record["files"]["model.keras"] = []


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (spoil_version, "it has version 3, expected 2"),
        (spoil_stage, "it belongs to stage 'prune'"),
        (spoil_key, "key: Field required"),
        (spoil_hash, r"files.model.keras.sha256: Input should be a valid string"),
        (spoil_file, r"files.model.keras: Input should be"),
    ],
)
def test_a_foreign_record_is_refused_with_the_reason(
    tmp_path: Path, spoil: Callable[[dict[str, Any]], None], reason: str
) -> None:
    tiny_artifact.write(tmp_path, OLD)
    reseal(tmp_path / "train" / RECORD, spoil)
    with pytest.raises(ArtifactError, match=reason):
        Store(tmp_path).read("train")


def test_a_flip_of_any_bit_of_a_record_is_refused(tmp_path: Path) -> None:
    tiny_artifact.write(tmp_path, OLD)
    file = tmp_path / "train" / RECORD
    whole = file.read_bytes()
    for place in range(len(whole)):
        for bit in (1, 32):
            file.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
            with pytest.raises(ArtifactError, match="is damaged"):
                Store(tmp_path).read("train")


def test_a_record_of_the_version_before_has_no_seal_and_is_read(tmp_path: Path) -> None:
    tiny_artifact.write(tmp_path, OLD)
    file = tmp_path / "train" / RECORD
    content = {**opened(file.read_bytes()), "record_version": 1}
    file.write_text(json.dumps(content))
    record = Store(tmp_path).read("train")
    assert record
    assert record.record_version == 1


@pytest.mark.parametrize("raw", [b"", b"[]", b"3", b"null", b"\xff\xfe", b'"text"'])
def test_what_is_no_record_at_all_is_refused(tmp_path: Path, raw: bytes) -> None:
    tiny_artifact.write(tmp_path, OLD)
    (tmp_path / "train" / RECORD).write_bytes(raw)
    with pytest.raises(ArtifactError, match="is damaged"):
        Store(tmp_path).read("train")
    assert Store(tmp_path).read_all(["train"])[1][0].startswith(str(tmp_path))


def test_a_folder_in_the_place_of_the_record_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train" / RECORD).mkdir(parents=True)
    with pytest.raises(ArtifactError, match="cannot be read"):
        Store(tmp_path).read("train")


def test_a_changed_a_missing_and_an_unreadable_file_are_told_apart(tmp_path: Path) -> None:
    tiny_artifact.write(tmp_path, OLD)
    store = Store(tmp_path)
    record = store.read("train")
    assert record
    file = tmp_path / "train/model.keras"
    file.write_text(OLD.upper())
    assert store.damage("train", record) == (f"{file} changed on disk",)
    file.unlink()
    assert store.damage("train", record) == (f"{file} is missing",)
    file.symlink_to(file)
    assert "cannot be read" in store.damage("train", record)[0]


def test_a_file_that_the_stage_did_not_write_is_no_damage(tmp_path: Path) -> None:
    tiny_artifact.write(tmp_path, OLD)
    (tmp_path / "train/notes.txt").write_text("mine")
    assert content(tmp_path) == OLD


def test_a_file_of_the_user_in_an_artifact_is_set_aside_when_the_artifact_is_replaced(
    tmp_path: Path,
) -> None:
    tiny_artifact.write(tmp_path, OLD)
    (tmp_path / "train/notes.txt").write_text("mine")
    tiny_artifact.write(tmp_path, NEW)
    assert content(tmp_path) == NEW
    assert names(tmp_path) == ["train", "train.set-aside-1"]
    assert names(tmp_path / "train.set-aside-1") == ["notes.txt"]


@pytest.mark.parametrize("record", [None, "{", "{}"])
def test_a_folder_that_no_record_proves_to_be_ours_is_set_aside_whole(
    tmp_path: Path, record: str | None
) -> None:
    (tmp_path / "train/cats").mkdir(parents=True)
    (tmp_path / "train/cats/1.jpg").write_text("mine")
    if record is not None:
        (tmp_path / "train" / RECORD).write_text(record)
    tiny_artifact.write(tmp_path, NEW)
    assert content(tmp_path) == NEW
    assert (tmp_path / "train.set-aside-1/cats/1.jpg").read_text() == "mine"


def test_recovery_touches_no_name_that_the_store_did_not_write(tmp_path: Path) -> None:
    for name in (".new-stuff", ".new-train-final", ".old-mail", ".resume-cv"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "letter.txt").write_text("mine")
    before = names(tmp_path)
    Store(tmp_path).recover()
    assert names(tmp_path) == before


def test_recovery_deletes_the_drafts_of_a_killed_run(tmp_path: Path) -> None:
    for name in (".7-report.json", ".7-report.html", ".123-.hashes.json"):
        (tmp_path / name).write_text("half")
    for name in (".7-notes.txt", ".x-report.json"):
        (tmp_path / name).write_text("mine")
    Store(tmp_path).recover()
    assert names(tmp_path) == [".7-notes.txt", ".x-report.json"]


@pytest.mark.parametrize("name", ["../letter.txt", "/letter.txt", "a/../../letter.txt", ".."])
def test_a_record_cannot_name_files_outside_its_folder(tmp_path: Path, name: str) -> None:
    def point_outside(record: dict[str, Any]) -> None:
        record["files"][name] = record["files"]["model.keras"]

    tiny_artifact.write(tmp_path, OLD)
    reseal(tmp_path / "train" / RECORD, point_outside)
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(ArtifactError, match="is damaged: files"):
        Store(tmp_path).read("train")
    tiny_artifact.write(tmp_path, NEW)
    assert (tmp_path / "letter.txt").read_text() == "mine"


def test_nothing_behind_a_symbolic_link_in_an_artifact_is_deleted(tmp_path: Path) -> None:
    tiny_artifact.write(tmp_path, OLD)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.txt").write_text("mine")
    shutil.rmtree(tmp_path / "train/extra")
    (tmp_path / "train/extra").symlink_to(tmp_path / "photos")
    tiny_artifact.write(tmp_path, NEW)
    assert content(tmp_path) == NEW
    assert (tmp_path / "photos/a.txt").read_text() == "mine"
