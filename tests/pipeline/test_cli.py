from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from children import environment, output_of
from click.testing import CliRunner, Result

from pipeline.cli import pipeline
from pipeline.config import load
from pipeline.store import Store
from stages.settings import Settings

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")


def call(*arguments: str) -> Result:
    """The command line in this process; nothing that it can raise escapes."""
    result = CliRunner().invoke(pipeline, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def tiny_command(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "tiny_line", module, *arguments]


def tiny(module: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command line on the tiny line, in a process of its own, piped."""
    return subprocess.run(
        tiny_command(module, *arguments),
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `pipeline run all` has run on the tiny line."""
    folder = tmp_path_factory.mktemp("finished")
    assert tiny("copy", "run", "all", cwd=folder).returncode == 0
    return folder


COMMANDS = ["run", "status", "report", "compare", "compare-devices", "history", "config", "doctor"]


def test_the_commands_are_the_promised_ones() -> None:
    assert sorted(pipeline.commands) == sorted(COMMANDS)


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_every_command_has_help(command: list[str]) -> None:
    result = call(*command, "--help")
    assert result.exit_code == 0
    assert "Usage: pipeline" in result.output
    assert "..." not in result.output.split("Commands:")[-1].replace("STAGES...", "")


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


def test_the_schema_of_the_settings_describes_every_section() -> None:
    schema = json.loads(call("config", "--schema").stdout)
    assert set(schema["properties"]) == set(Settings.model_fields)
    assert "Passes over" in schema["$defs"]["Train"]["properties"]["epochs"]["description"]


def test_doctor_prints_something_about_every_engine() -> None:
    result = call("doctor")
    assert result.exit_code == 0
    for name in ("onnxruntime", "litert", "tensorrt"):
        assert name in result.stdout


def test_a_run_ends_with_the_table_and_the_reports(finished: Path) -> None:
    done = tiny("copy", "run", "all", cwd=finished)
    assert done.returncode == 0
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[:3] == [
        "write      fresh, skipped",
        "copy       fresh, skipped",
        "join       fresh, skipped",
    ]
    assert "accuracy" in done.stdout
    assert lines[-1].startswith(f"report: {Path('artifacts/report.json')}")
    report = json.loads((finished / "artifacts/report.json").read_text())
    assert [stage["state"] for stage in report["stages"]] == ["cached"] * 3


def test_what_ran_is_marked_in_the_report(tmp_path: Path) -> None:
    done = tiny("copy", "run", "write", "--artifacts", "a/b", cwd=tmp_path)
    assert done.returncode == 0
    assert "warning: write: a warning of a stage" in done.stderr
    report = json.loads((tmp_path / "a/b/report.json").read_text())
    assert [stage["state"] for stage in report["stages"]] == ["ran"]


def test_run_report_only_draws_the_reports_anew(finished: Path) -> None:
    html = finished / "artifacts/report.html"
    html.unlink()
    done = tiny("copy", "run", "report", cwd=finished)
    assert done.returncode == 0
    assert html.is_file()
    assert "skipped" not in done.stdout


def test_piped_output_has_no_control_characters(tmp_path: Path) -> None:
    for colors in ({}, {"FORCE_COLOR": "1", "TERM": "xterm-256color"}, {"NO_COLOR": "1"}):
        command = tiny_command("copy", "run", "all")
        done = subprocess.run(
            command, cwd=tmp_path, env=environment(**colors), capture_output=True, check=True
        )
        assert not CONTROL.search(done.stdout.decode())
        assert not CONTROL.search(done.stderr.decode())


def test_a_reader_that_goes_away_ends_the_run_and_its_stage(tmp_path: Path) -> None:
    with subprocess.Popen(
        tiny_command("sleeps", "run", "all"),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
    assert process.returncode == 1
    assert "Traceback" not in errors
    assert not list((tmp_path / "artifacts").glob(".new-*"))


def test_status_tells_fresh_stale_and_missing_and_why(finished: Path, tmp_path: Path) -> None:
    done = tiny("copy", "status", "--set", "prune.ratio=0.25", cwd=finished)
    assert done.stdout.splitlines() == [
        "write      fresh",
        "copy       stale    prune.ratio 0.5 -> 0.25",
        "join       stale    copy is stale",
    ]
    done = tiny("copy", "status", cwd=tmp_path)
    assert done.stdout == "write      missing\ncopy       missing\njoin       missing\n"
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_tells_what_would_run_and_writes_nothing(finished: Path, tmp_path: Path) -> None:
    before = sorted(path.stat().st_mtime_ns for path in finished.rglob("*"))
    done = tiny("copy", "run", "all", "--dry-run", "--set", "prune.ratio=0.25", cwd=finished)
    assert done.stdout.splitlines() == [
        "write      skip  fresh",
        "copy       run   stale    prune.ratio 0.5 -> 0.25",
        "join       run   stale    copy is stale",
    ]
    assert sorted(path.stat().st_mtime_ns for path in finished.rglob("*")) == before
    tiny("copy", "run", "all", "--dry-run", cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", ["md", "html", "json", "csv", "txt"])
def test_a_report_is_written_in_the_format_of_its_ending(
    finished: Path, tmp_path: Path, ending: str
) -> None:
    file = tmp_path / f"out.{ending}"
    done = tiny("copy", "report", "--output", str(file), cwd=finished)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "write" in file.read_text()
    format = "table" if ending == "txt" else ending
    assert tiny("copy", "report", "--format", format, cwd=finished).stdout == file.read_text()


def test_a_report_that_cannot_be_written_is_an_error(finished: Path) -> None:
    done = tiny("copy", "report", "--output", "no/such/report.md", cwd=finished)
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot write the report to 'no/such/report.md'")


@pytest.mark.parametrize(
    ("module", "error"),
    [
        ("refuses", "error: got 3 images, expected at least 10\nhint: add images\n"),
        ("aborts", "error: the process of stage copy died: SIGABRT\nhint: what it printed: arti"),
        ("fails", "error: this is a bug, please report it: stage copy: KeyErr"),
    ],
)
def test_a_stage_that_fails_is_exit_code_1_with_the_place_of_its_log(
    tmp_path: Path, module: str, error: str
) -> None:
    done = tiny(module, "run", "all", cwd=tmp_path)
    assert done.returncode == 1
    text = done.stderr.replace("warning: write: a warning of a stage\n", "")
    assert text.startswith(error)
    assert str(Path("artifacts/.logs/copy.log")) in text
    assert "Traceback" not in text
    assert (tmp_path / "artifacts/.logs/copy.log").is_file()


def test_debug_shows_the_traceback_of_the_stage(tmp_path: Path) -> None:
    done = tiny("fails", "run", "all", "--debug", cwd=tmp_path)
    assert "fails.py" in done.stderr
    assert "KeyError" in done.stderr


def test_a_damaged_record_is_left_out_of_the_report_by_name(tmp_path: Path) -> None:
    tiny("copy", "run", "write", "copy", cwd=tmp_path)
    os.truncate(tmp_path / "artifacts/copy/record.json", 9)
    done = tiny("copy", "report", cwd=tmp_path)
    assert done.returncode == 0
    assert "left out of the report: artifacts/copy/record.json is damaged" in done.stderr


def test_a_run_that_misses_its_gates_is_exit_code_3_after_its_reports_are_written(
    tmp_path: Path,
) -> None:
    limits = ["--max-accuracy-drop", "1.5", "--set", "gates.max_p50_ms=0.05"]
    done = tiny("measures", "run", "all", *limits, cwd=tmp_path)
    assert done.returncode == 3
    assert [line.split(":")[:2] for line in done.stderr.splitlines()[:2]] == [
        ["error", " gates.max_accuracy_drop missed"],
        ["error", " gates.max_p50_ms missed"],
    ]
    assert "litert int8 has 95.00 % top-1 accuracy, 2.00 points below" in done.stderr
    report = json.loads((tmp_path / "artifacts/report.json").read_text())
    assert [result["state"] for result in report["gates"]] == ["missed", "missed"]
    for text in (done.stdout, tiny("measures", "report", cwd=tmp_path).stdout):
        assert "gates.max_p50_ms missed: litert int8 takes 0.100 ms" in text
    history = tiny("measures", "history", cwd=tmp_path).stdout
    assert "missed: max_accuracy_drop, max_p50_ms" in history


def test_a_run_that_keeps_its_gates_is_exit_code_0(tmp_path: Path) -> None:
    limits = ["--set", "gates.max_accuracy_drop=2.5", "--set", "gates.max_p50_ms=0.2"]
    done = tiny("measures", "run", "all", *limits, cwd=tmp_path)
    assert done.returncode == 0
    assert "gates.max_p50_ms passed: litert int8 takes 0.100 ms" in done.stdout


def test_a_gate_without_a_benchmark_warns(tmp_path: Path) -> None:
    done = tiny("copy", "run", "write", "--max-accuracy-drop", "1", cwd=tmp_path)
    assert done.returncode == 0
    assert "warning: gates.max_accuracy_drop not judged: there is no benchmark" in done.stderr


def test_a_run_is_logged_to_mlflow_once_and_again_when_asked(tmp_path: Path) -> None:
    store = ["--set", "report.mlflow=file:store"]
    first = tiny("measures", "run", "all", *store, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert first.stdout.splitlines()[-1].startswith("mlflow: run ")
    assert first.stderr == ""
    assert "mlflow" not in tiny("measures", "run", "all", *store, cwd=tmp_path).stdout
    again = tiny("measures", "run", "report", *store, cwd=tmp_path)
    assert again.stdout.splitlines()[-1].startswith("mlflow: run ")
    assert len(list((tmp_path / "store").glob("*/*/meta.yaml"))) == 2


def test_a_run_that_cannot_be_logged_is_complete_and_exit_code_1(tmp_path: Path) -> None:
    store = ["--set", "report.mlflow=http://127.0.0.1:9"]
    done = tiny("measures", "run", "all", *store, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot log to MLflow at 'http://127.0.0.1:9': ")
    assert "Traceback" not in done.stderr
    assert (tmp_path / "artifacts/report.html").is_file()
    assert (tmp_path / "artifacts/history.jsonl").is_file()
    missed = ["--max-accuracy-drop", "0"]
    done = tiny("measures", "run", "report", *store, *missed, cwd=tmp_path)
    assert done.returncode == 3
    assert "warning: cannot log to MLflow" in done.stderr
    assert "error: gates.max_accuracy_drop missed" in done.stderr


@pytest.mark.parametrize("name", ["report.json", "report.html"])
def test_reports_that_cannot_be_written_are_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "artifacts" / name).mkdir(parents=True)
    done = tiny("copy", "run", "all", cwd=tmp_path)
    assert done.returncode == 1
    assert "error: cannot write the reports into 'artifacts': Is a directory\n" in done.stderr
    assert "hint: the artifacts are complete; again: pipeline run report\n" in done.stderr


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A folder in which the measured line ran twice, with other settings, and the two ids."""
    folder = tmp_path_factory.mktemp("twice")
    ids = []
    for ratio in ("0.5", "0.25"):
        done = tiny("measures", "run", "all", "--set", f"prune.ratio={ratio}", cwd=folder)
        assert done.returncode == 0, done.stderr
        ids += re.findall(r"^history: run (\w{8})$", done.stdout, re.MULTILINE)
    return folder, ids


def test_every_run_that_did_something_adds_a_line_to_the_history(
    twice: tuple[Path, list[str]],
) -> None:
    folder, ids = twice
    before = (folder / "artifacts/history.jsonl").read_bytes()
    assert len(before.splitlines()) == len(ids) == 2
    again = tiny("measures", "run", "all", "--set", "prune.ratio=0.25", cwd=folder)
    assert again.returncode == 0
    assert "history" not in again.stdout
    assert (folder / "artifacts/history.jsonl").read_bytes() == before


def test_the_history_shows_each_run_against_the_one_before(twice: tuple[Path, list[str]]) -> None:
    folder, ids = twice
    lines = tiny("measures", "history", cwd=folder).stdout.splitlines()
    assert [line.split()[0] for line in lines[2:4]] == ids
    assert "prune.ratio 0.5 -> 0.25" in lines[3]
    assert lines[4] == "How certain a change is: pipeline compare ID ID"
    runs = json.loads(tiny("measures", "history", "--format", "json", cwd=folder).stdout)
    assert [run["id"] for run in runs] == ids


def test_without_a_history_the_command_says_so(tmp_path: Path) -> None:
    result = call("history", "--artifacts", str(tmp_path))
    assert result.exit_code == 0
    assert result.stdout.startswith("no run in ")
    assert json.loads(call("history", "--artifacts", str(tmp_path), "--format=json").stdout) == []


def test_a_corrupt_line_of_the_history_is_reported(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").write_text("{broken\n")
    result = call("history", "--artifacts", str(tmp_path))
    assert result.exit_code == 0
    assert "warning: left out of the history: " in result.stderr
    assert "line 1: not whole, or no JSON" in result.stderr


def test_a_history_that_cannot_be_written_does_not_spoil_the_run(tmp_path: Path) -> None:
    (tmp_path / "artifacts/history.jsonl").mkdir(parents=True)
    done = tiny("copy", "run", "all", cwd=tmp_path)
    assert done.returncode == 0
    assert "warning: cannot write to 'artifacts/history.jsonl': Is a directory; the art" in (
        done.stderr
    )


def test_two_runs_are_compared_by_id_folder_and_report(twice: tuple[Path, list[str]]) -> None:
    folder, ids = twice
    by_id = tiny("measures", "compare", *ids, cwd=folder)
    assert by_id.returncode == 0, by_id.stderr
    assert re.search(r"prune.ratio +0.5 +0.25", by_id.stdout)
    mixed = tiny("measures", "compare", "artifacts/report.json", "artifacts", cwd=folder)
    assert mixed.returncode == 0, mixed.stderr
    assert "prune.ratio" not in mixed.stdout


@pytest.mark.parametrize("ending", ["md", "json", "txt"])
def test_a_comparison_is_written_in_the_format_of_its_ending(
    twice: tuple[Path, list[str]], tmp_path: Path, ending: str
) -> None:
    folder, ids = twice
    file = tmp_path / f"out.{ending}"
    done = tiny("measures", "compare", *ids, "--output", str(file), cwd=folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    format = "table" if ending == "txt" else ending
    shown = tiny("measures", "compare", *ids, "--format", format, cwd=folder)
    assert shown.stdout == file.read_text()
    assert "litert.int8" in shown.stdout


def test_a_run_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    result = call("compare", "nothing", "here", "--artifacts", str(tmp_path))
    assert result.exit_code == 1
    assert result.stderr.startswith("error: no run 'nothing': neither a folder nor a file, nor")
    assert result.stderr.endswith("\nhint: known ids: pipeline history\n")
    assert "Traceback" not in result.stderr


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A run that hangs in `copy`, and the process number of that stage."""
    command = tiny_command("sleeps", "run", "all")
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout
        asleep = next(line for line in process.stdout if "asleep in" in line)
        yield process, int(asleep.split()[-1])
        process.kill()


def ends_soon(pid: int) -> bool:
    """Whether the process is gone, or a zombie that nobody has fetched, within seconds."""
    stat = Path(f"/proc/{pid}/stat")
    for _ in range(500):
        try:
            if stat.read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.01)
    return False


def test_an_interrupted_run_is_exit_code_130_and_leaves_nothing_half(
    sleeper: tuple[subprocess.Popen[str], int], tmp_path: Path
) -> None:
    process, stage = sleeper
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "interrupted; what was done before stays"
    assert ends_soon(stage)
    assert not list((tmp_path / "artifacts").glob(".new-*"))
    assert Store(tmp_path / "artifacts").read("write")


def test_a_killed_run_takes_its_stage_along_and_the_next_run_goes_on(
    sleeper: tuple[subprocess.Popen[str], int], tmp_path: Path
) -> None:
    process, stage = sleeper
    process.kill()
    process.wait()
    assert ends_soon(stage)
    done = tiny("copy", "run", "all", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("write      fresh, skipped\ncopy       starts (missing)\n")
    assert not list((tmp_path / "artifacts").glob(".new-*"))


def test_a_second_run_is_told_who_holds_the_folder(
    sleeper: tuple[subprocess.Popen[str], int], tmp_path: Path
) -> None:
    done = tiny("copy", "run", "all", cwd=tmp_path)
    assert done.returncode == 1
    assert f"in use by process {sleeper[0].pid} on " in done.stderr
    assert ": pipeline run all" in done.stderr
    assert tiny("copy", "status", cwd=tmp_path).stdout.startswith("write      fresh\n")


IMPORTED = """
import sys
from tiny_line.__main__ import main
try:
    main()
finally:
    print("imported", *sorted({name.partition(".")[0] for name in sys.modules}))
"""


def imported(*arguments: str, cwd: Path) -> set[str]:
    return set(output_of(IMPORTED, "copy", *arguments, cwd=cwd).splitlines()[-1].split())


HEAVY = {
    "tensorflow",
    "keras",
    "numpy",
    "onnx",
    "onnxruntime",
    "ai_edge_litert",
    "sklearn",
    "matplotlib",
}


@pytest.mark.parametrize(
    "arguments", [["run", "all"], ["status"], ["report"], ["history"], ["config"]]
)
def test_a_command_with_nothing_to_do_imports_nothing_heavy(
    finished: Path, arguments: list[str]
) -> None:
    assert not imported(*arguments, cwd=finished) & HEAVY


def test_help_imports_click_and_nothing_else_of_weight() -> None:
    code = (
        "import sys\n"
        "from pipeline.cli import pipeline\n"
        "pipeline(['--help'], standalone_mode=False)\n"
        "print(*sys.modules)"
    )
    modules = set(output_of(code).splitlines()[-1].split())
    assert "click" in modules
    assert not modules & (HEAVY | {"pydantic", "rich", "stages.settings", "pipeline.reports"})
