from __future__ import annotations

from stages import errors


def test_an_error_reads_as_what_happened_and_how_to_fix_it():
    error = errors.DataError("no file 'x.npz'", "set data.path")
    assert str(error) == "no file 'x.npz'\nset data.path"
    assert str(errors.DataError("no file 'x.npz'")) == "no file 'x.npz'"


def test_every_kind_is_found_by_its_name_and_has_its_exit_code():
    codes = {name: kind.exit_code for name, kind in errors.KINDS.items()}
    assert codes.pop("SettingsError") == 2
    assert codes.pop("GateFailed") == 3
    assert set(codes.values()) == {1}
    assert all(issubclass(kind, errors.UserError) for kind in errors.KINDS.values())
    assert all(name in (errors.__doc__ or "") for name in errors.KINDS)
