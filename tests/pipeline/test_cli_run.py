from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from children import ends_soon, environment, tiny, tiny_command

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")


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
        tiny_command("speaks", "run", "all"),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stderr
        said = next(line for line in process.stdout if "still in" in line)
        process.stdout.close()
        errors = process.stderr.read()
    assert process.returncode == 1
    assert "Traceback" not in errors
    assert ends_soon(int(said.split()[-1]))
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


def test_scripts_get_status_and_plan_as_json(finished: Path, tmp_path: Path) -> None:
    changed = ["--set", "prune.ratio=0.25", "--format", "json"]
    found = json.loads(tiny("copy", "status", *changed, cwd=finished).stdout)
    assert found["stages"][1] == {
        "stage": "copy",
        "state": "stale",
        "reasons": ["prune.ratio 0.5 -> 0.25"],
    }
    assert found["last_run"] == {"options": []}
    found = json.loads(tiny("copy", "run", "all", "--dry-run", *changed, cwd=finished).stdout)
    assert [(row["stage"], row["state"], row["action"]) for row in found["stages"]] == [
        ("write", "fresh", "skip"),
        ("copy", "stale", "run"),
        ("join", "stale", "run"),
    ]
    found = json.loads(tiny("copy", "status", "--format", "json", cwd=tmp_path).stdout)
    assert [row["state"] for row in found["stages"]] == ["missing"] * 3
    assert found["last_run"] is None


def test_status_shows_the_options_of_the_last_run_unless_they_are_given_too(
    tmp_path: Path,
) -> None:
    (tmp_path / "own.toml").write_text("[train]\nepochs = 3\n")
    secret = "report.mlflow=https://user:secret@host"
    options = ["--config", "own.toml", "--set", "prune.ratio=0.25"]
    assert tiny("copy", "run", "all", *options, cwd=tmp_path).returncode == 0
    plain = tiny("copy", "status", cwd=tmp_path)
    assert plain.stderr == ("the last run was given: --config own.toml --set prune.ratio=0.25\n")
    assert "stale" in plain.stdout
    same = tiny("copy", "status", *options, cwd=tmp_path)
    assert same.stderr == ""
    assert "stale" not in same.stdout
    hidden = tiny("fails", "run", "all", "--force", "--set", secret, cwd=tmp_path)
    assert "secret" not in (tmp_path / "artifacts/history.jsonl").read_text() + hidden.stderr


def test_a_quiet_run_shows_the_verdict_and_errors_alone(tmp_path: Path) -> None:
    (tmp_path / "pipeline.toml").write_text("[gates]\nmax_accuracy_drop = 1.5\n")
    done = tiny("measures", "run", "all", "--quiet", cwd=tmp_path)
    assert done.returncode == 3
    report = json.loads((tmp_path / "artifacts/report.json").read_text())
    assert done.stdout.splitlines() == report["verdict"]
    assert {line.split(": ")[0] for line in done.stderr.splitlines()} == {"error", "hint"}


def test_a_verbose_run_shows_what_the_stages_print(tmp_path: Path) -> None:
    for options, is_shown in (([], False), (["-v"], True)):
        done = tiny("copy", "run", "write", "--force", *options, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        for text in ("printed by Python", "printed by native code", "buffered by native code"):
            assert (text in done.stdout) == is_shown
        assert done.stdout.count("looking around") == 1
        assert "write      done in" in done.stdout
        assert not CONTROL.search(done.stdout)


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
    ("module", "code", "error"),
    [
        ("refuses", 2, "error: got 3 images, expected at least 10\nhint: add images\n"),
        (
            "aborts",
            1,
            "warning: copy: died of SIGABRT in native code and ran again with "
            "TF_ENABLE_ONEDNN_OPTS=0\nerror: the process of stage copy died: SIGABRT, and again "
            "without oneDNN: SIGABRT\nhint: what it printed: art",
        ),
        ("fails", 1, "error: this is a bug, please report it: stage copy: KeyErr"),
    ],
)
def test_a_stage_that_fails_has_its_exit_code_and_the_place_of_its_log(
    tmp_path: Path, module: str, code: int, error: str
) -> None:
    done = tiny(module, "run", "all", cwd=tmp_path)
    assert done.returncode == code
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


def test_a_parity_check_that_fails_is_named_and_with_strict_parity_exit_code_3(
    tmp_path: Path,
) -> None:
    lenient = tiny("disagrees", "run", "all", cwd=tmp_path)
    assert lenient.returncode == 0
    strict = tiny("disagrees", "run", "all", "--strict-parity", cwd=tmp_path)
    assert strict.returncode == 3
    assert "error: gates.parity missed: 1 of 1 parity checks fail, the first is model.onnx" in (
        strict.stderr
    )
    written = [(tmp_path / "artifacts" / f"report.{kind}").read_text() for kind in ("md", "html")]
    for text in (lenient.stdout, strict.stdout, *written):
        assert "Parity fails in 1 of 1 checks, first in model.onnx" in text


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
