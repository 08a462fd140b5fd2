from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from stages.datasets import cache, decoded
from stages.errors import DataError

SHAPE = (2, 3, 1)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """More than one task has to do, each holding its number."""
    found = [tmp_path / f"{number:03}" for number in range(2 * decoded.FILES_PER_TASK + 5)]
    for number, file in enumerate(found):
        file.write_bytes(bytes([number]))
    return found


class Decoder:
    """Reads the number in a file; refuses the number 66 if it is told to."""

    def __init__(self, refuses: int | None = None) -> None:
        self.calls, self.refuses = 0, refuses

    def __call__(self, file: Path) -> tuple[np.ndarray, list[str]]:
        self.calls += 1
        (number,) = file.read_bytes()
        if number == self.refuses:
            raise DataError(f"{file} is bad")
        return np.full(SHAPE, number, np.uint8), ["odd"] if number % 2 else []


def read(files: list[Path], decoder: Decoder, skip_bad: bool = False) -> np.ndarray:
    return decoded.decoded([(file,) for file in files], SHAPE, "set", decoder, skip_bad).images


def test_images_lie_on_disk_in_the_order_of_their_files(files: list[Path]) -> None:
    images = read(files, Decoder())
    assert isinstance(images, np.memmap)
    assert not images.flags.writeable
    assert images.shape == (len(files), *SHAPE)
    np.testing.assert_array_equal(images[:, 1, 2, 0], np.arange(len(files)))


def test_they_are_decoded_once_until_a_file_changes(files: list[Path]) -> None:
    decoder = Decoder()
    read(files, decoder)
    read(files, decoder)
    assert decoder.calls == len(files)
    os.utime(files[3], (1, 1))
    read(files, decoder)
    assert decoder.calls == 2 * len(files)
    assert len(list(cache.folder().glob("*.npy"))) == 1


def test_a_damaged_array_is_made_anew(files: list[Path]) -> None:
    decoder = Decoder()
    read(files, decoder)
    (kept,) = cache.folder().glob("*.npy")
    kept.write_bytes(kept.read_bytes()[:-1])
    np.testing.assert_array_equal(read(files, decoder)[:, 0, 0, 0], np.arange(len(files)))
    assert decoder.calls == 2 * len(files)


def test_a_flipped_bit_in_the_array_or_in_its_notes_is_found(files: list[Path]) -> None:
    decoder = Decoder()
    read(files, decoder)
    for pattern in ("*.npy", "*.json"):
        decoder.calls = 0
        (kept,) = cache.folder().glob(pattern)
        stat, content = kept.stat(), bytearray(kept.read_bytes())
        content[len(content) // 2] ^= 1
        kept.write_bytes(content)
        os.utime(kept, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        np.testing.assert_array_equal(read(files, decoder)[:, 0, 0, 0], np.arange(len(files)))
        assert decoder.calls == len(files)


def test_a_file_replaced_at_equal_size_and_time_is_decoded_again(files: list[Path]) -> None:
    os.utime(files[3], (1, 1))
    read(files, Decoder())
    other = files[3].with_name("other")
    other.write_bytes(bytes([77]))
    os.utime(other, (1, 1))
    other.replace(files[3])
    assert read(files, Decoder())[3, 0, 0, 0] == 77


def test_what_was_done_to_images_is_counted_and_kept(files: list[Path]) -> None:
    for _ in range(2):
        found = decoded.decoded(
            [(file,) for file in files], SHAPE, "set", Decoder(), skip_bad=False
        )
        assert found.changed == {"odd": len(files) // 2}


def test_a_bad_file_ends_it_and_leaves_nothing(files: list[Path]) -> None:
    with pytest.raises(DataError, match=f"{files[66]} is bad"):
        read(files, Decoder(refuses=66))
    assert list(cache.folder().iterdir()) == []


def test_on_request_a_bad_file_is_a_black_row_with_its_reason(files: list[Path]) -> None:
    for _ in range(2):
        found = decoded.decoded(
            [(file,) for file in files], SHAPE, "set", Decoder(refuses=66), skip_bad=True
        )
        assert not found.images[66].any()
        assert found.bad[66] == f"{files[66]} is bad"
        assert sum(map(bool, found.bad)) == 1


def test_a_set_that_the_disk_cannot_hold_is_refused_before_it_is_decoded(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=100))
    decoder = Decoder()
    with pytest.raises(DataError, match=r"has 0 MiB left") as caught:
        read(files, decoder)
    assert "XDG_CACHE_HOME" in caught.value.hint
    assert decoder.calls == 0


def test_a_cache_folder_that_cannot_be_made_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"file/keras-trt-pipeline cannot be made"):
        cache.folder()


def test_a_relative_cache_home_is_ignored_as_the_specification_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.folder() == tmp_path / ".cache/keras-trt-pipeline"
