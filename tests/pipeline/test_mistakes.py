"""Mistakes of users that once ended in a traceback: each is one clear line and exit code 2."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from children import call, environment
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.settings import Settings

LONG = "x" * 300
KEYS = [f"{name}.{key}" for name, section in Settings() for key in type(section).model_fields]


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("train.devices=[1]", "got [1], expected auto, cpu, gpus"),
        ("train.epochs=" + "9" * 5000, "expected a whole number of fewer digits"),
        ("train.learning_rate=" + "9" * 5000, "expected "),
        ("data.name=" + "[" * 5000, "expected 'digits'"),
        (r'data.path="a\u0000b"', "expected a path without NUL"),
        (r'model.source="a\u0000b"', "expected a path without NUL"),
        (r'model.weights="a\u0000b"', "expected a path without NUL"),
        (r'tensorrt.timing_cache="a\u0000b"', "expected a path without NUL"),
        (f"data.path={LONG}", "whose names have 1 to 255 bytes"),
        (f"model.source={LONG}", "whose names have 1 to 255 bytes"),
        ("data.path=" + "a/" * 5000, "whose names have"),
        ("data.path=", "got '', expected a path"),
        ("model.name=resnet50", "got 'resnet50', expected 'ResNet50'?"),
        ("model.name=mnist_cn", "expected 'mnist_cnn'?"),
        ("model.name=" + LONG, "expected ds_cnn, lenet"),
        ("model.source=:", "expected a .keras or .h5 file, or module:function"),
        ("model.source=..models:build", "expected a .keras or .h5 file, or module:function"),
        ("model.source=models:", "expected a .keras or .h5 file, or module:function"),
        ("data.path=http://[", "expected a path, or an address that begins with http"),
        ("data.path=http://", "expected a path, or an address that begins with http"),
        ("data.path=http://a:b/x.npz", "expected a path, or an address that begins with http"),
        ("data.path=file:///etc/passwd", "expected a path, or an address that begins with http"),
        *((f"{name}.seed=4294967296", "less than 4294967296") for name in ("data", "train")),
        ("data.shift_pixels=100000", "less than 16384"),
        ("train.batch_size=" + "9" * 30, "less than 2147483648"),
        ("benchmark.batch_sizes=[" + "9" * 30 + "]", "less than 2147483648"),
        ("data.image_size=1099511627776", "less than or equal to 16384"),
        ("data.scale=0", "expected a number other than 0"),
        ("data.scale=1e-40", "or a magnitude from 1e-30 to 1e+30"),
        ("data.offset=1e40", "or a magnitude from 1e-30 to 1e+30"),
        ("build.backends=['litert','litert']", "expected every value once"),
    ],
    ids=lambda value: value[:40],
)
@pytest.mark.parametrize("command", ["config", "run"])
def test_a_mistake_in_a_setting_is_one_line(command: str, setting: str, reason: str) -> None:
    result = call(*(["run", "all"] if command == "run" else ["config"]), "--set", setting)
    assert result.exit_code == 2
    error, hint = result.stderr.splitlines()
    assert error.startswith("error: " + setting.partition("=")[0])
    assert reason in error
    assert len(error) < 350
    assert hint == "hint: all settings and their values: pipeline config"
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[train]\nepochs = " + "9" * 5000, "not valid TOML: too long a number"),
        ("[data]\nname = " + "[" * 5000, "not valid TOML: "),
        ("#" * 2_000_000, "more than 1,048,576 bytes"),
    ],
    ids=["digits", "brackets", "size"],
)
def test_a_mistake_in_the_file_is_one_line(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "settings.toml").write_text(text)
    result = call("config", "--config", str(tmp_path / "settings.toml"))
    assert result.exit_code == 2
    assert reason in result.stderr.splitlines()[0]


def test_an_endless_file_is_no_configuration() -> None:
    result = call("config", "--config", "/dev/zero")
    assert result.exit_code == 2
    assert "more than 1,048,576 bytes" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "all", "--artifacts", LONG],
        ["status", "--artifacts", LONG],
        ["report", "--artifacts", LONG],
        ["verify", "--artifacts", LONG],
        ["history", "--artifacts", LONG],
        ["compare", LONG, LONG],
        ["config", "--config", LONG],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_name_that_no_file_can_have_is_one_line(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = call(*arguments)
    assert result.exit_code == 2
    assert "bug" not in result.stderr
    assert "ile name too long" in result.stderr


def test_links_that_go_in_circles_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    set_path = ["--set", "data.name=npz", "--set", f"data.path={tmp_path / 'loop'}"]
    result = call("run", "train", *set_path, "--artifacts", str(tmp_path / "artifacts"))
    assert result.exit_code == 2
    assert "Too many levels of symbolic links" in result.stderr
    assert "bug" not in result.stderr


@pytest.mark.parametrize("kind", ["pipe", "device"])
@pytest.mark.parametrize("command", ["status", "run"])
def test_data_that_may_never_end_is_one_line(tmp_path: Path, kind: str, command: str) -> None:
    path = tmp_path / "pipe" if kind == "pipe" else Path("/dev/zero")
    if kind == "pipe":
        os.mkfifo(path)
    settings = ["--set", "data.name=npz", "--set", f"data.path={path}"]
    words = ["run", "train"] if command == "run" else ["status"]
    result = call(*words, *settings, "--artifacts", str(tmp_path / "artifacts"))
    assert result.exit_code == (2 if command == "run" else 0)
    if command == "run":
        assert "neither a regular file nor a folder" in result.stderr.splitlines()[0]


def test_a_closed_standard_output_is_one_line() -> None:
    command = f"exec {sys.executable} -m pipeline report >&-"
    done = subprocess.run(
        ["sh", "-c", command], stderr=subprocess.PIPE, text=True, env=environment(), check=False
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == "error: standard output is closed"


@settings(max_examples=300)
@given(
    st.sampled_from(KEYS), st.text(st.characters()) | st.integers().map(str) | st.floats().map(str)
)
def test_any_text_for_any_setting_is_taken_or_refused(key: str, text: str) -> None:
    result = call("config", "--set", f"{key}={text}")
    assert result.exit_code in (0, 2)
    assert "Traceback" not in result.output


@settings(max_examples=100)
@given(st.text(st.characters()))
def test_any_text_in_the_place_of_a_setting_is_taken_or_refused(text: str) -> None:
    assert call("config", "--set", text).exit_code in (0, 2)


@settings(max_examples=100)
@given(st.binary() | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_as_a_configuration_are_taken_or_refused(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "settings.toml"
        file.write_bytes(content)
        assert call("config", "--config", str(file)).exit_code in (0, 2)
