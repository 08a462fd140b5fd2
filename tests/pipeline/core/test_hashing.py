from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core import hashing
from pipeline.core.hashing import Hashes, canonical_json, hash_file, hash_folder, key_of

OLD_NS = 1_600_000_000 * 10**9

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
)
values = st.recursive(
    scalars | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=12,
)
trees = st.dictionaries(st.text(), values, min_size=1, max_size=6)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.keras"
    path.write_bytes(b"weights")
    return path


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files whose content was read; every file counts as settled."""
    names: list[str] = []

    def hash_and_tell(path: Path) -> str:
        names.append(path.name)
        return hash_file(path)

    monkeypatch.setattr(hashing, "hash_file", hash_and_tell)
    monkeypatch.setattr(hashing, "SETTLE_NS", -(10**9))
    return names


def test_the_key_of_a_known_value_never_changes() -> None:
    value = {"stage": "train", "revision": 1, "settings": {"rate": 2e-3, "path": None, "ü": [1, 2]}}
    assert canonical_json(value) == (
        b'{"revision":1,"settings":{"path":null,"rate":0.002,"\\u00fc":[1,2]},"stage":"train"}'
    )
    assert key_of(value) == "bb829dd6af4d38b3d7902a7b9c0f0682b9c9caeac35adcbfa71a63c1ee2a918d"


@settings(deadline=None, max_examples=20)
@given(trees)
def test_the_order_of_keys_does_not_matter(tree: dict[str, Any]) -> None:
    assert key_of(dict(reversed(tree.items()))) == key_of(tree)


@settings(deadline=None, max_examples=20)
@given(trees)
def test_a_value_that_went_through_a_file_has_the_same_key(tree: dict[str, Any]) -> None:
    assert key_of(json.loads(json.dumps(tree))) == key_of(tree)


@settings(deadline=None, max_examples=20)
@given(trees, st.data())
def test_any_changed_value_changes_the_key(tree: dict[str, Any], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(tree)))
    other = data.draw(values.filter(lambda value: json.dumps(value) != json.dumps(tree[name])))
    assert key_of({**tree, name: other}) != key_of(tree)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_json_cannot_say_has_no_key(value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        key_of({"rate": value})


def test_a_file_has_the_sha256_of_its_content(file: Path) -> None:
    assert hash_file(file) == hashlib.sha256(b"weights").hexdigest()


def test_an_unchanged_file_is_read_once(file: Path, tmp_path: Path, reads: list[str]) -> None:
    hashes = Hashes(tmp_path / ".hashes.json")
    assert hashes.of(file) == hashes.of(file) == hash_file(file)
    hashes.save()
    assert Hashes(tmp_path / ".hashes.json").of(file) == hash_file(file)
    assert reads == ["model.keras"]


def test_a_file_of_another_size_is_read_again(file: Path, tmp_path: Path, reads: list[str]) -> None:
    hashes = Hashes(tmp_path / ".hashes.json")
    hashes.of(file)
    file.write_bytes(b"more weights")
    assert hashes.of(file) == hashlib.sha256(b"more weights").hexdigest()


def test_a_file_changed_behind_an_old_time_is_read_again(
    file: Path, tmp_path: Path, reads: list[str]
) -> None:
    os.utime(file, ns=(OLD_NS, OLD_NS))
    hashes = Hashes(tmp_path / ".hashes.json")
    hashes.of(file)
    inode_time = file.stat().st_ctime_ns
    while file.stat().st_ctime_ns == inode_time:
        file.write_bytes(b"WEIGHTS")
        os.utime(file, ns=(OLD_NS, OLD_NS))
    assert hashes.of(file) == hashlib.sha256(b"WEIGHTS").hexdigest()


def test_a_file_replaced_by_another_is_read_again(
    file: Path, tmp_path: Path, reads: list[str]
) -> None:
    hashes = Hashes(tmp_path / ".hashes.json")
    hashes.of(file)
    other = tmp_path / "other"
    other.write_bytes(b"WEIGHTS")
    shutil.copystat(file, other)
    other.replace(file)
    assert hashes.of(file) == hashlib.sha256(b"WEIGHTS").hexdigest()


def test_a_file_that_has_only_just_changed_is_not_trusted_yet(
    file: Path, tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing, "SETTLE_NS", 3600 * 10**9)
    hashes = Hashes(tmp_path / ".hashes.json")
    hashes.of(file)
    hashes.of(file)
    assert reads == ["model.keras", "model.keras"]


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"a": 3}', '{"a": []}'])
def test_a_damaged_memory_is_forgotten(
    file: Path, tmp_path: Path, reads: list[str], content: str
) -> None:
    memory = tmp_path / ".hashes.json"
    memory.write_text(content.replace('"a"', json.dumps(str(file))))
    hashes = Hashes(memory)
    assert hashes.of(file) == hash_file(file)
    hashes.save()
    assert Hashes(memory).of(file) == hash_file(file)
    assert reads == ["model.keras"]


def test_a_memory_with_a_flipped_bit_is_forgotten(
    file: Path, tmp_path: Path, reads: list[str]
) -> None:
    memory = tmp_path / ".hashes.json"
    hashes = Hashes(memory)
    hashes.of(file)
    hashes.save()
    whole = memory.read_bytes()
    for place in range(len(whole)):
        memory.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert Hashes(memory).of(file) == hash_file(file)
    assert len(reads) == 1 + len(whole)


def test_files_that_are_gone_are_forgotten(file: Path, tmp_path: Path, reads: list[str]) -> None:
    hashes = Hashes(tmp_path / ".hashes.json")
    hashes.of(file)
    file.unlink()
    hashes.save()
    assert json.loads((tmp_path / ".hashes.json").read_text())["hashes"] == {}


def test_a_folder_that_does_not_exist_needs_no_memory(file: Path, tmp_path: Path) -> None:
    hashes = Hashes(tmp_path / "nowhere/.hashes.json")
    assert hashes.of(file) == hash_file(file)
    hashes.save()
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_is_known_by_names_sizes_and_times_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    image = tmp_path / "cat/a.png"
    image.write_bytes(b"1234")
    os.utime(image, ns=(OLD_NS, OLD_NS))
    seen = [hash_folder(tmp_path), Hashes(tmp_path / "x").of(tmp_path)]
    assert seen[0] == seen[1]
    os.utime(image, ns=(OLD_NS, OLD_NS + 1))
    seen.append(hash_folder(tmp_path))
    image.write_bytes(b"12345")
    os.utime(image, ns=(OLD_NS, OLD_NS))
    seen.append(hash_folder(tmp_path))
    image.rename(tmp_path / "cat/b.png")
    seen.append(hash_folder(tmp_path))
    (tmp_path / "cat/c.png").write_bytes(b"")
    seen.append(hash_folder(tmp_path))
    assert len(set(seen)) == 5


@pytest.fixture
def images(tmp_path: Path) -> Path:
    (tmp_path / "images/cat").mkdir(parents=True)
    (tmp_path / "images/cat/a.png").write_bytes(b"1234")
    os.utime(tmp_path / "images/cat/a.png", ns=(OLD_NS, OLD_NS))
    return tmp_path / "images"


def replace_keeping_size_and_time(images: Path) -> None:
    """As `rsync -t` and `cp -p` do."""
    other = images.parent / "other"
    other.write_bytes(b"4321")
    shutil.copystat(images / "cat/a.png", other)
    other.replace(images / "cat/a.png")


@pytest.mark.parametrize("by_content", [False, True])
def test_a_file_replaced_in_a_folder_at_equal_size_and_time_is_seen(
    images: Path, by_content: bool
) -> None:
    hashes = Hashes(images.parent / ".hashes.json")
    before = hashes.of(images, by_content)
    replace_keeping_size_and_time(images)
    assert hashes.of(images, by_content) != before


def test_by_content_a_copy_of_a_folder_is_the_same_and_else_another(images: Path) -> None:
    copy = images.parent / "copy"
    shutil.copytree(images, copy)
    hashes = Hashes(images.parent / ".hashes.json")
    assert hashes.of(images, True) == hashes.of(copy, True)
    assert hashes.of(images) != hashes.of(copy)


def test_files_of_a_list_are_known_as_those_of_a_folder(images: Path) -> None:
    copy = images.parent / "copy"
    shutil.copytree(images, copy)
    listed, copied = ({"a.png": folder / "cat/a.png"} for folder in (images, copy))
    hashes = Hashes(images.parent / ".hashes.json")
    assert hashes.of_listed(listed, True) == hashes.of_listed(copied, True)
    assert hashes.of_listed(listed) != hashes.of_listed(copied)
    before = hashes.of_listed(listed)
    replace_keeping_size_and_time(images)
    assert hashes.of_listed(listed) != before
    for nothing in ("gone.png", "a.png/below", "x" * 300):
        assert hashes.of_listed({"a": images / "cat" / nothing}) == hashes.of_listed(
            {"a": images / "no"}
        )


def test_by_content_unchanged_files_are_read_once(images: Path, reads: list[str]) -> None:
    hashes = Hashes(images.parent / ".hashes.json")
    assert hashes.of(images, True) == hashes.of(images, True)
    assert reads == ["a.png"]


@pytest.mark.parametrize("by_content", [False, True])
def test_folders_behind_links_count_and_loops_end(images: Path, by_content: bool) -> None:
    elsewhere = images.parent / "elsewhere"
    elsewhere.mkdir()
    (images / "dog").symlink_to(elsewhere)
    (images / "cat/up").symlink_to(images)
    (images / "cat/broken").symlink_to("nowhere")
    (images / "cat/loop").symlink_to("loop")
    os.mkfifo(images / "cat/pipe")
    hashes = Hashes(images.parent / ".hashes.json")
    before = hashes.of(images, by_content)
    assert hashes.of(images, by_content) == before
    (elsewhere / "new.png").write_bytes(b"")
    assert hashes.of(images, by_content) != before


def test_what_may_never_end_is_not_hashed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(OSError, match="neither a regular file nor a folder"):
            Hashes(tmp_path / ".hashes.json").of(path)
