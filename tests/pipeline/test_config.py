from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import config
from pipeline.config import load, parse_value, to_toml
from stages.errors import SettingsError
from stages.settings import Settings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "settings.toml"


def message(*overrides: str, file: Path | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        load(file, overrides)
    assert caught.value.exit_code == 2
    return caught.value.message


def test_without_a_file_the_defaults_hold() -> None:
    assert load() == Settings()


def test_a_file_changes_what_it_names_only(file: Path) -> None:
    file.write_text('[train]\nepochs = 3\n[data]\nname = "mnist"\n')
    found = load(file)
    assert (found.train.epochs, found.data.name) == (3, "mnist")
    assert found.train.batch_size == Settings().train.batch_size


def test_set_wins_over_the_file_and_the_last_set_over_the_first(file: Path) -> None:
    file.write_text("[train]\nepochs = 3\nseed = 7\n")
    found = load(file, ["train.epochs=4", "train.epochs=5"])
    assert (found.train.epochs, found.train.seed) == (5, 7)


def test_a_relative_path_is_left_relative_to_the_current_folder(file: Path) -> None:
    file.write_text('[data]\npath = "digits.npz"\n')
    assert load(file).data.path == load(None, ["data.path=digits.npz"]).data.path == "digits.npz"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-0.5", -0.5),
        ("1e-3", 1e-3),
        ("true", True),
        ("[1, 8]", [1, 8]),
        ('["int8"]', ["int8"]),
        ('"3"', "3"),
        ("'a b'", "a b"),
        ("percentile", "percentile"),
        ("models/my net.keras", "models/my net.keras"),
        ("my_nets:build", "my_nets:build"),
        ("", ""),
        ("1\nother = 2", "1\nother = 2"),
        ("[1, 8", "[1, 8"),
    ],
)
def test_a_value_is_toml_if_it_can_be_else_text(text: str, value: Any) -> None:
    assert parse_value(text) == value


@settings(deadline=None, max_examples=50)
@given(st.integers(-(2**62), 2**62) | st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_is_read_as_itself(number: float) -> None:
    assert parse_value(repr(number)) == number


@settings(deadline=None, max_examples=50)
@given(st.text())
def test_any_text_is_read_as_something_and_never_an_error(text: str) -> None:
    parse_value(text)


@settings(deadline=None, max_examples=50)
@given(
    address=st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    rate=st.floats(1e-300, 1.0),
    sizes=st.lists(st.integers(1, 2**31 - 1), min_size=1, unique=True),
    gate=st.none() | st.floats(0, 1e300),
)
def test_what_config_prints_is_read_back_as_the_same_settings(
    address: str, rate: float, sizes: list[int], gate: float | None
) -> None:
    given_settings = Settings.model_validate(
        {
            "report": {"mlflow": address},
            "train": {"learning_rate": rate},
            "benchmark": {"batch_sizes": sizes},
            "gates": {"max_accuracy_drop": gate},
        }
    )
    assert load_text(to_toml(given_settings)) == given_settings


def load_text(text: str) -> Settings:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "settings.toml"
        file.write_text(text, encoding="utf-8", newline="")
        return load(file)


def test_printed_settings_explain_every_knob() -> None:
    lines = to_toml(Settings()).splitlines()
    for index, line in enumerate(lines):
        if " = " in line or line.startswith("["):
            assert lines[index - 1].startswith("# "), line


def test_an_unknown_setting_gets_the_nearest_known_name() -> None:
    assert message("train.epoch=3") == "unknown setting 'train.epoch'; did you mean 'train.epochs'?"


def test_a_setting_in_the_wrong_section_gets_the_right_one() -> None:
    assert message("model.epochs=3").endswith("'model.epochs'; did you mean 'train.epochs'?")
    assert message("data.ratio=0.5").endswith("'data.ratio'; did you mean 'prune.ratio'?")


@pytest.mark.parametrize("old", config.RENAMED)
def test_the_former_name_of_a_setting_gets_its_name_now(old: str) -> None:
    new = config.RENAMED[old]
    assert message(f"{old}=1") == f"unknown setting {old!r}; did you mean {new!r}?"
    section, _, key = new.partition(".")
    assert key in type(getattr(Settings(), section)).model_fields


def test_an_unknown_section_gets_the_nearest_known_name() -> None:
    assert message("trian.epochs=3") == "unknown section 'trian'; did you mean 'train'?"


def test_a_name_like_no_other_gets_no_suggestion() -> None:
    assert message("train.zzzzzz=3") == "unknown setting 'train.zzzzzz'"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.epochs=-1", "train.epochs: got -1, expected greater than or equal to 0"),
        ("train.epochs=2.5", "train.epochs: got 2.5, expected a whole number"),
        ("prune.ratio=1.0", "prune.ratio: got 1.0, expected less than 1"),
        ("prune.ratio=much", "prune.ratio: got 'much', expected a valid number"),
        ("data.name=cifar", "data.name: got 'cifar', expected 'digits', 'mnist', 'fashion_mnist'"),
        ("data.path=7", "data.path: got 7, expected a valid string"),
        ("benchmark.threads=2", "benchmark.threads: got 2, expected a list, as in [1, 32]"),
        ("benchmark.threads=[]", "benchmark.threads: got [], expected"),
        ("benchmark.threads=[1, 0]", "benchmark.threads[1]: got 0, expected greater than"),
        ("build.precisions=['int4']", "build.precisions[0]: got 'int4', expected 'fp32'"),
        ("data.scale=nan", "data.scale: got nan, expected a finite number"),
        ("data.offset=-inf", "data.offset: got -inf, expected a finite number"),
        ("train=3", "--set got 'train=3', expected section.key=value"),
        ("train.epochs", "--set got 'train.epochs', expected section.key=value"),
        ("train.=3", "--set got 'train.=3', expected section.key=value"),
    ],
)
def test_a_wrong_value_is_told_with_what_is_expected(override: str, expected: str) -> None:
    assert message(override).startswith(expected)


def test_every_mistake_gets_a_line() -> None:
    assert len(message("train.epochs=-1", "prune.ratio=2", "data.nam=x").splitlines()) == 3


def test_a_value_in_the_place_of_a_section_is_refused(file: Path) -> None:
    file.write_text("train = 3\n")
    assert message(file=file) == "train: got 3, expected a section with keys"
    assert message("train.epochs=1", file=file) == "train: got 3, expected a section with keys"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[train]\nepochs = = 3\n", "line 2, column 10"),
        ("[train]\nepochs", "line 2, column 7"),
        ("[train]\nepochs = 1\nepochs = 2\n", "line 3"),
    ],
)
def test_a_syntax_error_is_told_with_line_and_column(file: Path, text: str, place: str) -> None:
    file.write_text(text)
    assert message(file=file).startswith(f"{file}: not valid TOML: ")
    assert place in message(file=file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert message(file=tmp_path / "no.toml").endswith("no.toml': No such file or directory")


def test_a_folder_is_no_configuration(tmp_path: Path) -> None:
    assert "Is a directory" in message(file=tmp_path)


def test_a_file_in_another_encoding_is_refused(file: Path) -> None:
    file.write_bytes("[data]\npath = 'ü'\n".encode("latin-1"))
    assert message(file=file) == f"{file}: byte 15 is not UTF-8, as TOML must be"


@pytest.mark.parametrize("override", ["model.name=\ud800", "data.path=/tmp/\udcff", '\udcff.x="a"'])
def test_an_override_that_is_no_unicode_is_refused(override: str) -> None:
    with pytest.raises(SettingsError, match="expected text in UTF-8"):
        load(None, [override])
