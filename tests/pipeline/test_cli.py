from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from children import call

from pipeline.cli import pipeline
from pipeline.config import load
from stages.settings import Settings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

COMMANDS = ["run", "status", "report", "compare", "compare-devices", "history", "config", "doctor"]
COMMANDS += ["verify", "export", "predict", "init", "search"]


def test_the_commands_are_the_promised_ones() -> None:
    assert sorted(pipeline.commands) == sorted(COMMANDS)


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_every_command_has_help(command: list[str]) -> None:
    result = call(*command, "--help")
    assert result.exit_code == 0
    assert "Usage: pipeline" in result.output
    assert "..." not in result.output.split("Commands:")[-1].replace("STAGES...", "").replace(
        "FILES...", ""
    )


def test_the_options_of_run_are_the_promised_ones() -> None:
    options = {name for option in pipeline.commands["run"].params for name in option.opts}
    assert options == {
        "stages",
        "--config",
        "--set",
        "--artifacts",
        "--force",
        "--from",
        "--to",
        "--dry-run",
        "--max-accuracy-drop",
        "--strict-parity",
        "--quiet",
        "-q",
        "--verbose",
        "-v",
        "--format",
        "--debug",
    }


def test_the_version_is_shown() -> None:
    result = call("--version")
    assert result.exit_code == 0
    assert result.output.startswith("pipeline")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["run"], "error: no stage given\nhint: run: pipeline run all\n"),
        (["run", "trian"], "error: unknown stage 'trian'; did you mean 'train'?\n"),
        (["run", "--from", "bild"], "error: unknown stage 'bild'; did you mean 'build'?\n"),
        (["run", "all", "--set", "train.epoch=3"], "error: unknown setting 'train.epoch'; did"),
        (["run", "all", "--config", "no.toml"], "error: cannot read the configuration 'no.toml'"),
        (["run", "all", "--max-accuracy-drop", "x"], "error: gates.max_accuracy_drop: got 'x', e"),
        (["run", "all", "--set", "gates.max_p50_ms=0"], "error: gates.max_p50_ms: got 0, expected"),
        (["run", "all", "--set", "report.mlflow="], "error: report.mlflow: got '', expected"),
        (["run", "all", "--set", "gates.max_size_mb=-1"], "error: gates.max_size_mb: got -1, exp"),
        (["run", "all", "-q", "-v"], "error: got --quiet and --verbose, expected one of them\n"),
        (["run", "all", "--format", "json"], "error: --format is for --dry-run\n"),
        (["status", "--set", "prune.ratio=2"], "error: prune.ratio: got 2, expected less than 1"),
        (["config", "--set", "x"], "error: --set got 'x', expected section.key=value"),
        (
            ["report", "--output", "report.pdf"],
            "error: got a report file ending in '.pdf', expected one of: .txt .md",
        ),
        (
            ["compare", "artifacts", "artifacts", "--output", "report.html"],
            "error: got a report file ending in '.html', expected one of: .txt .md .json\n",
        ),
    ],
)
def test_wrong_use_is_one_line_without_a_traceback_and_exit_code_2(
    arguments: list[str], error: str, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(finished)
    result = call(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith(error)
    assert "Traceback" not in result.output
    assert result.stdout == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["runn"],
        ["run", "all", "--fore"],
        ["report", "--format=x"],
        ["compare", "artifacts"],
        ["compare", "a", "b", "--format=html"],
        ["history", "--format=md"],
    ],
)
def test_what_click_refuses_is_exit_code_2_as_well(arguments: list[str]) -> None:
    result = call(*arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def test_every_mistake_in_the_settings_is_a_line_of_its_own() -> None:
    result = call("config", "--set", "train.epochs=-1", "--set", "prune.ratio=3")
    assert [line.split(":")[0] for line in result.stderr.splitlines()] == ["error", "error", "hint"]


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    for arguments in (["--debug", "run", "x"], ["run", "x", "--debug"]):
        result = call(*arguments)
        assert "Traceback" in result.stderr
        assert "error: unknown stage 'x'" in result.stderr


def test_a_report_of_nothing_says_how_to_get_one(tmp_path: Path) -> None:
    result = call("report", "--artifacts", str(tmp_path))
    assert result.exit_code == 1
    assert (
        result.stderr
        == "error: nothing to report: no stage has run yet\nhint: run: pipeline run all\n"
    )


def test_config_prints_settings_that_it_reads_back(tmp_path: Path) -> None:
    result = call("config", "--set", "train.epochs=3", "--set", "build.precisions=['int8']")
    file = tmp_path / "settings.toml"
    file.write_text(result.stdout)
    expected = load(None, ["train.epochs=3", "build.precisions=['int8']"])
    assert load(file) == expected != Settings()
    assert call("config", "--config", str(file)).stdout == result.stdout


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a `pipeline.toml`."""
    (tmp_path / "pipeline.toml").write_text("[train]\nepochs = 7\n")
    (tmp_path / "other.toml").write_text("[train]\nbatch_size = 9\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_file_of_the_current_folder_is_read_and_that_is_said_in_one_line(home: Path) -> None:
    result = call("config", "--set", "train.batch_size=5")
    assert result.stderr == "settings: pipeline.toml\n"
    settings = tomllib.loads(result.stdout)
    assert (settings["train"]["epochs"], settings["train"]["batch_size"]) == (7, 5)


def test_config_wins_over_the_file_of_the_current_folder(home: Path) -> None:
    for file, batch_size in (("other.toml", 9), (os.devnull, 32)):
        result = call("config", "--config", file)
        assert result.stderr == ""
        settings = tomllib.loads(result.stdout)
        assert (settings["train"]["epochs"], settings["train"]["batch_size"]) == (24, batch_size)


def test_a_mistake_in_the_file_of_the_current_folder_is_told(home: Path) -> None:
    (home / "pipeline.toml").write_text("[train]\nepoch = 7\n")
    result = call("status")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[:2] == [
        "settings: pipeline.toml",
        "error: unknown setting 'train.epoch'; did you mean 'train.epochs'?",
    ]


def test_the_schema_of_the_settings_describes_every_section() -> None:
    schema = json.loads(call("config", "--schema").stdout)
    assert set(schema["properties"]) == set(Settings.model_fields)
    assert "Passes over" in schema["$defs"]["Train"]["properties"]["epochs"]["description"]
