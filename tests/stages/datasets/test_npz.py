from __future__ import annotations

import io
import os
import pickle
import struct
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stages.datasets import npz
from stages.errors import DataError
from stages.settings import Data

ARRAYS = {
    "x_train": np.arange(6 * 4 * 4, dtype=np.uint8).reshape(6, 4, 4),
    "y_train": np.array([0, 1, 2, 0, 1, 2]),
    "x_test": np.zeros((3, 4, 4), np.uint8),
    "y_test": np.array([2, 1, 0]),
}


def data(file: Path) -> Data:
    return Data(name="npz", path=str(file))


def test_both_parts_and_the_classes_are_read(tmp_path: Path) -> None:
    file = tmp_path / "set.npz"
    np.savez_compressed(file, **ARRAYS)
    train = npz.read(data(file), "train")
    np.testing.assert_array_equal(train.images, ARRAYS["x_train"][..., None])
    assert train.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert npz.read(data(file), "test").labels.tolist() == [2, 1, 0]
    assert npz.class_names(data(file)) == ("0", "1", "2")


def test_missing_arrays_are_named_beside_those_that_are_there(tmp_path: Path) -> None:
    file = tmp_path / "set.npz"
    np.savez(file, x_train=ARRAYS["x_train"], labels=ARRAYS["y_train"])
    with pytest.raises(DataError, match="has no y_train, x_test, y_test; it has x_train, labels"):
        npz.read(data(file), "train")


def test_pickled_arrays_are_never_loaded(tmp_path: Path) -> None:
    file = tmp_path / "set.npz"
    np.savez(file, **{**ARRAYS, "x_train": np.array([object()], dtype=object)})
    with pytest.raises(DataError, match=r"set\.npz holds pickled objects, which are never loaded"):
        npz.read(data(file), "train")


def test_a_pickle_that_is_called_npz_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "set.npz"
    file.write_bytes(pickle.dumps(ARRAYS))
    with pytest.raises(DataError, match=r"cannot be read as an \.npz \(File is not a zip file\)"):
        npz.read(data(file), "train")


def test_a_truncated_file_is_refused_with_its_name(tmp_path: Path) -> None:
    file = tmp_path / "set.npz"
    np.savez(file, **ARRAYS)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"set\.npz cannot be read as an \.npz"):
        npz.read(data(file), "train")


def test_a_changed_byte_inside_an_array_is_found(tmp_path: Path) -> None:
    file = tmp_path / "set.npz"
    np.savez(file, **ARRAYS)
    raw = bytearray(file.read_bytes())
    raw[raw.index(ARRAYS["x_train"].tobytes()) + 40] ^= 1
    file.write_bytes(raw)
    with pytest.raises(DataError, match=r"set\.npz cannot be read as an \.npz \(Bad CRC"):
        npz.read(data(file), "train")


def test_a_folder_is_not_an_npz(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be read as an \.npz"):
        npz.read(data(tmp_path), "train")


def small() -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **ARRAYS)
    return stream.getvalue()


SMALL = small()


def refused(content: bytes) -> str:
    """What is said of these bytes; "" if they are read."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "set.npz"
        file.write_bytes(content)
        try:
            npz.class_names(data(file))
            npz.read(data(file), "train")
        except DataError as error:
            return error.message
    return ""


@settings(max_examples=150)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused(content: bytes) -> None:
    assert "set.npz" in refused(content)


@settings(max_examples=300)
@example(SMALL.index(b"PK\1\2") + 6, 0xF0)  # the version of zip that is needed to read it
@given(st.integers(0, len(SMALL) - 1), st.integers(1, 255))
def test_any_changed_byte_is_read_or_refused(place: int, change: int) -> None:
    content = bytearray(SMALL)
    content[place] ^= change
    refused(content)


@settings(max_examples=100)
@given(st.text(max_size=80))
def test_any_header_is_read_or_refused(header: str) -> None:
    raw = header.encode("latin-1", "replace")
    refused(with_member(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(raw)) + raw + bytes(96)))


def with_member(content: bytes) -> bytes:
    """An archive whose x_train is `content`."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(SMALL)) as old, zipfile.ZipFile(stream, "w") as new:
        for name in old.namelist():
            new.writestr(name, content if name == "x_train.npy" else old.read(name))
    return stream.getvalue()


@pytest.mark.parametrize("shape", ["(2**60,)", "(1000000000000, 4, 4)", "(6, 4, 5)", "(-1, -96)"])
def test_a_header_that_promises_more_than_there_is_is_refused(shape: str) -> None:
    shape = shape.replace("2**60", str(2**60))
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode()
    raw = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(96)
    assert "cannot be read as an .npz" in refused(with_member(raw))


@pytest.mark.parametrize(("offset", "value"), [(8, 1), (10, 99)], ids=["encrypted", "unknown"])
def test_a_member_that_cannot_be_unpacked_is_refused(offset: int, value: int) -> None:
    """Flag 1 says encrypted, method 99 is AES: in the central directory's first entry."""
    content = bytearray(SMALL)
    content[content.index(b"PK\x01\x02") + offset] = value
    assert "cannot be read as an .npz" in refused(content)


def test_a_file_that_unpacks_to_too_much_is_refused_before_it_is(tmp_path: Path) -> None:
    file = tmp_path / "bomb.npz"
    np.savez_compressed(file, **{**ARRAYS, "x_train": np.zeros((5, 1024, 1024), np.uint8)})
    assert file.stat().st_size < 20_000
    limited = data(file).model_copy(update={"max_unpacked_mib": 4})
    with pytest.raises(DataError, match=r"unpacks to 5 MiB, more .* allows, 4 MiB") as caught:
        npz.read(limited, "test")
    assert "data.max_unpacked_mib=6" in caught.value.hint
    assert len(npz.read(data(file), "test")) == 3


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_may_never_end_is_refused(tmp_path: Path, kind: str) -> None:
    path = Path("/dev/zero")
    if kind == "pipe":
        path = tmp_path / "pipe"
        os.mkfifo(path)
    with pytest.raises(DataError, match="neither a regular file nor a folder"):
        npz.read(data(path), "train")
