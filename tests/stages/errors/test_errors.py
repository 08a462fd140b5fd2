from __future__ import annotations

import errno

import pytest

from stages import errors


def test_an_error_reads_as_what_happened_and_how_to_fix_it():
    error = errors.DataError("no file 'x.npz'", "set data.path")
    assert str(error) == "no file 'x.npz'\nset data.path"
    assert str(errors.DataError("no file 'x.npz'")) == "no file 'x.npz'"


def test_every_kind_is_found_by_its_name_and_has_its_exit_code():
    codes = {name: kind.exit_code for name, kind in errors.KINDS.items()}
    assert codes.pop("SettingsError") == codes.pop("DataError") == 2
    assert codes.pop("GateFailed") == 3
    assert set(codes.values()) == {1}
    assert all(issubclass(kind, errors.UserError) for kind in errors.KINDS.values())
    assert all(name in (errors.__doc__ or "") for name in errors.KINDS)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO])
def test_a_disk_that_refuses_is_no_bug(code):
    found = errors.machine_error(OSError(code, "text", "a/b.keras"))
    assert found.message.endswith(": 'a/b.keras'")
    assert found.hint.startswith("free some space")
    assert found.exit_code == 1


def test_a_full_disk_is_also_known_by_its_text_as_in_h5py():
    text = "Unable to synchronously write (errno = 28, error message = 'No space left on device')"
    assert errors.machine_error(OSError(text)).message == "No space left on device"


def test_missing_rights_say_where():
    found = errors.machine_error(PermissionError(errno.EACCES, "text", "a"))
    assert found.message == "Permission denied: 'a'"
    assert found.hint.startswith("check who may write there")


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.ENOMEM, "no")])
def test_no_memory_is_no_bug(error):
    assert errors.machine_error(error).message == "not enough memory"


@pytest.mark.parametrize("error", [FileNotFoundError(errno.ENOENT, "x"), KeyError("x"), OSError()])
def test_anything_else_is_not_the_machines_fault(error):
    assert errors.machine_error(error) is None


def test_the_nearest_name_is_found() -> None:
    assert errors.nearest("trian", ["prune", "train"]) == "train"


def test_nothing_is_found_when_nothing_is_near() -> None:
    assert errors.nearest("xyz", ["prune", "train"]) is None


def test_a_suggestion_ends_a_message_and_may_be_empty() -> None:
    assert f"unknown{errors.suggestion('train')}" == "unknown; did you mean 'train'?"
    assert errors.suggestion(None) == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://host/a.npz has gone", "http://host/a.npz has gone"),
        ("'https://me:p@ss@host:80/a.npz'", "'https://***@host:80/a.npz'"),
        ("http://host/a?token=1&id=2, expected", "http://host/a?token=***&id=***"),
        ("http://host/a?secret", "http://host/a?***"),
        (
            "postgresql://me:pw@host/db and s3://b/k?X=y",
            "postgresql://***@host/db and s3://b/k?X=***",
        ),
        ("/a/folder?x=1 me@host.org", "/a/folder?x=1 me@host.org"),
    ],
)
def test_what_an_address_can_hide_is_masked(text: str, expected: str) -> None:
    assert errors.redacted(text).removesuffix(" expected") == expected
