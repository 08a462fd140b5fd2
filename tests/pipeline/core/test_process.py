from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_line
from children import ends_soon, output_of

from pipeline.core.plan import Stage, find
from pipeline.core.process import StageBug, StageProcess, Task
from stages.errors import DataError, StageCrashed
from stages.settings import Settings

Said = list[tuple[str, str, "tuple[int, int] | None"]]


@pytest.fixture
def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StageProcess]:
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    with StageProcess(tmp_path) as running:
        yield running


def task(tmp_path: Path, name: str, module: str = "tiny_line.copy") -> Task:
    stage: Stage = find(tiny_line.plan_with_copy(module), name)
    out = tmp_path / name
    out.mkdir()
    settings = stage.settings.of(Settings()).model_dump(mode="json")
    inputs = {need: tmp_path / need for need in stage.needs}
    return Task(stage, settings, inputs, out, tmp_path / f"logs/{name}.log", tmp_path / "resume")


def run(process: StageProcess, asked: Task, said: Said | None = None) -> dict[str, Any]:
    lines: Said = [] if said is None else said
    result = process.run(asked, lambda *line: lines.append(line))
    return result.details.model_dump()


def test_a_stage_writes_its_files_and_returns_its_measurements(
    process: StageProcess, tmp_path: Path
) -> None:
    details = run(process, task(tmp_path, "write"))
    assert (tmp_path / "write/text.txt").read_text() == "epochs 24\n"
    assert details["batch_size"] == 32
    assert details["pid"] != os.getpid()


def test_progress_and_warnings_of_a_stage_arrive_in_order(
    process: StageProcess, tmp_path: Path
) -> None:
    said: Said = []
    run(process, task(tmp_path, "write"), said)
    assert said == [
        ("WARNING", "a warning of a stage", None),
        ("INFO", "looking around", None),
        ("INFO", "epoch 1", (1, 2)),
        ("INFO", "epoch 2", (2, 2)),
    ]


def test_all_that_a_stage_prints_is_in_its_log(process: StageProcess, tmp_path: Path) -> None:
    run(process, task(tmp_path, "write"))
    log = (tmp_path / "logs/write.log").read_text()
    assert "printed by Python\n" in log
    assert "printed by native code\n" in log
    assert "buffered by native code\n" in log
    assert "UserWarning: a warning of a library\n" in log
    run(process, task(tmp_path, "copy"))
    assert "printed by" not in (tmp_path / "logs/copy.log").read_text()


def test_a_log_holds_the_last_run_only(process: StageProcess, tmp_path: Path) -> None:
    asked = task(tmp_path, "write")
    run(process, asked)
    (asked.out / "folder/deep.txt").unlink()
    (asked.out / "folder").rmdir()
    run(process, asked)
    assert asked.log.read_text().count("printed by Python") == 1


def test_numbers_that_json_cannot_say_become_null(process: StageProcess, tmp_path: Path) -> None:
    assert run(process, task(tmp_path, "write"))["loss"] is None


def test_a_stage_has_nothing_to_read_on_stdin(process: StageProcess, tmp_path: Path) -> None:
    assert run(process, task(tmp_path, "write"))["stdin"] == ""


def test_stages_of_one_kind_share_a_process_and_another_kind_gets_its_own(
    process: StageProcess, tmp_path: Path
) -> None:
    write, copy = run(process, task(tmp_path, "write")), run(process, task(tmp_path, "copy"))
    assert write["pid"] == copy["pid"]
    join = run(process, task(tmp_path, "join"))
    assert join["pid"] != write["pid"]
    assert not is_alive(write["pid"])


def test_only_the_tensorflow_process_gets_tensorflows_variables(
    process: StageProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    write = run(process, task(tmp_path, "write"))
    assert (write["keras_backend"], write["log_level"]) == ("tensorflow", "2")
    run(process, task(tmp_path, "copy"))
    assert run(process, task(tmp_path, "join"))["keras_backend"] == "jax"


def test_a_log_level_that_the_user_chose_stays(
    process: StageProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    assert run(process, task(tmp_path, "write"))["log_level"] == "0"


def test_sets_of_names_have_one_order_in_all_tensorflow_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    found = set()
    for name in ("one", "other"):
        folder = tmp_path / name
        folder.mkdir()
        with StageProcess(folder) as process:
            found.add(run(process, task(folder, "write"))["hash"])
    assert len(found) == 1


def test_no_process_is_left_behind(tmp_path: Path) -> None:
    with StageProcess(tmp_path) as process:
        details = run(process, task(tmp_path, "write"))
        assert is_alive(details["pid"])
    assert not is_alive(details["pid"])


def test_a_users_mistake_in_a_stage_arrives_as_what_it_is(
    process: StageProcess, tmp_path: Path
) -> None:
    asked = task(tmp_path, "copy", "tiny_line.refuses")
    with pytest.raises(DataError) as caught:
        run(process, asked)
    assert caught.value.message == "got 3 images, expected at least 10"
    assert caught.value.hint == f"add images\nwhat the stage printed: {asked.log}"
    assert "refuses.py" in str(caught.value.__cause__)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("tiny_line.fails", "stage copy: KeyError: 0.5"),
        (
            "tiny_line.answers_oddly",
            "stage copy: TypeError: tiny_line.answers_oddly.run returned a dict, expected",
        ),
        ("tiny_line.nowhere", "stage copy: ModuleNotFoundError: No module named 'tiny_line.now"),
    ],
)
def test_a_mistake_in_the_code_of_a_stage_names_stage_and_log(
    process: StageProcess, tmp_path: Path, module: str, message: str
) -> None:
    asked = task(tmp_path, "copy", module)
    with pytest.raises(StageBug, match=message) as caught:
        run(process, asked)
    assert caught.value.log == asked.log
    assert "Traceback" in asked.log.read_text()
    assert "Traceback" in str(caught.value.__cause__)


@pytest.mark.parametrize(
    ("module", "cause"),
    [
        ("tiny_line.aborts", "SIGABRT, and again without oneDNN: SIGABRT"),
        ("tiny_line.exits", "exit status 7"),
    ],
)
def test_a_process_that_dies_names_stage_cause_and_log(
    process: StageProcess, tmp_path: Path, module: str, cause: str
) -> None:
    asked = task(tmp_path, "copy", module)
    with pytest.raises(StageCrashed) as caught:
        run(process, asked)
    assert caught.value.message == f"the process of stage copy died: {cause}"
    assert str(asked.log) in caught.value.hint


def test_a_native_crash_leaves_the_python_stack_in_the_log(
    process: StageProcess, tmp_path: Path
) -> None:
    asked = task(tmp_path, "copy", "tiny_line.aborts")
    with pytest.raises(StageCrashed):
        run(process, asked)
    assert "Fatal Python error: Aborted" in asked.log.read_text()
    assert "aborts.py" in asked.log.read_text()


def dying_of(number: signal.Signals, tmp_path: Path) -> Task:
    asked = task(tmp_path, "copy", "tiny_line.needs_other_kernels")
    return replace(asked, settings={"prune": {"seed": int(number)}})


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE])
def test_a_stage_that_dies_in_native_code_runs_again_without_onednn_and_says_so(
    process: StageProcess, tmp_path: Path, number: signal.Signals
) -> None:
    said, asked = Said(), dying_of(number, tmp_path)
    result = process.run(asked, lambda *line: said.append(line))
    note = f"died of {number.name} in native code and ran again with TF_ENABLE_ONEDNN_OPTS=0"
    assert result.notes == ("a note of the stage", note)
    assert said == [("WARNING", note, None)]
    assert [file.name for file in asked.out.iterdir()] == ["copy.txt"]
    assert (asked.out / "copy.txt").read_text() == "whole"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_stage_that_is_killed_from_outside_does_not_run_again(
    process: StageProcess, tmp_path: Path, number: signal.Signals
) -> None:
    said = Said()
    with pytest.raises(StageCrashed, match=rf"stage copy died: {number.name}(, which|\n)"):
        process.run(dying_of(number, tmp_path), lambda *line: said.append(line))
    assert said == []


def test_stages_after_one_that_ran_again_start_without_onednn_and_say_so(
    process: StageProcess, tmp_path: Path
) -> None:
    process.run(dying_of(signal.SIGSEGV, tmp_path), lambda *line: None)
    said = Said()
    result = process.run(task(tmp_path, "write"), lambda *line: said.append(line))
    note = (
        "ran with TF_ENABLE_ONEDNN_OPTS=0 from its start, because copy died of SIGSEGV with oneDNN"
    )
    assert result.notes == (note,)
    assert said[0] == ("WARNING", note, None)
    assert result.details.model_dump()["onednn"] == "0"


def test_a_stage_that_dies_without_onednn_is_not_tried_again(
    process: StageProcess, tmp_path: Path
) -> None:
    process.run(dying_of(signal.SIGSEGV, tmp_path), lambda *line: None)
    (again := tmp_path / "again").mkdir()
    with pytest.raises(StageCrashed, match="stage copy died: SIGABRT\n"):
        run(process, task(again, "copy", "tiny_line.aborts"))


def test_where_onednn_is_off_already_a_crash_is_an_error_at_once(
    process: StageProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    with pytest.raises(StageCrashed, match="stage copy died: SIGABRT\n"):
        run(process, task(tmp_path, "copy", "tiny_line.aborts"))


def test_a_stage_after_a_crash_gets_a_new_process(process: StageProcess, tmp_path: Path) -> None:
    with pytest.raises(StageCrashed):
        run(process, task(tmp_path, "copy", "tiny_line.aborts"))
    assert run(process, task(tmp_path, "write"))["batch_size"] == 32


def test_a_process_killed_between_two_stages_is_the_next_ones_failure(
    process: StageProcess, tmp_path: Path
) -> None:
    details = run(process, task(tmp_path, "write"))
    os.kill(details["pid"], 9)
    with pytest.raises(StageCrashed, match=r"stage copy died: SIGKILL, .* memory runs out"):
        run(process, task(tmp_path, "copy"))


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_child_that_is_killed_in_the_middle_of_its_answer_has_crashed(
    process: StageProcess, tmp_path: Path
) -> None:
    with pytest.raises(StageCrashed, match="SIGKILL, which is how the system ends a process when"):
        run(process, task(tmp_path, "copy", "tiny_line.dies_mid_answer"))
    assert run(process, task(tmp_path, "write"))["batch_size"] == 32


def test_what_a_stage_imports_is_never_searched_for_garbage_and_what_it_leaves_is() -> None:
    code = (
        "import gc\n"
        "from pipeline.core.worker import import_stage\n"
        "import_stage('stages.build')\n"
        "first = gc.get_freeze_count()\n"
        "left = [[] for _ in range(1000)]\n"
        "import_stage('tiny_line.copy')\n"
        "print(first > 10_000, gc.get_freeze_count() <= first, gc.isenabled())"
    )
    assert output_of(code).split() == ["True", "True", "True"]


def test_a_stage_starts_without_what_keras_imports_for_others_and_the_users_finds_it(
    tmp_path: Path,
) -> None:
    (tmp_path / "own_stage.py").write_text(
        "try:\n    import matplotlib, sklearn\nexcept ImportError:\n    pass"
    )
    code = (
        "import sys\n"
        "from pipeline.core.worker import import_stage\n"
        "import_stage('stages.prune')\n"
        "others = {'matplotlib', 'scipy', 'sklearn'}\n"
        "print('keras' in sys.modules, len(others & {*sys.modules}))\n"
        "import_stage('own_stage')\n"
        "print(len(others & {*sys.modules}))"
    )
    assert output_of(code, cwd=tmp_path).split() == ["True", "0", "3"]


@pytest.mark.parametrize("ending", ["done", "interrupted", "killed"])
def test_neither_files_nor_processes_of_a_stage_are_left(tmp_path: Path, ending: str) -> None:
    asked, said = task(tmp_path, "copy", "tiny_line.spawns"), Said()
    asked = replace(asked, settings={"prune": {"ratio": 0.0 if ending == "done" else 0.5}})

    def listen(level: str, text: str, step: object) -> None:
        said.append((level, text, None))
        if ending == "interrupted":
            raise KeyboardInterrupt
        if ending == "killed":
            os.kill(os.getpgid(grandchild(said)), signal.SIGKILL)

    with contextlib.suppress(KeyboardInterrupt, StageCrashed), StageProcess(tmp_path) as process:
        process.run(asked, listen)
    file = Path(said[0][1].split()[0])
    assert file.parent.parent == tmp_path
    assert not list(tmp_path.glob(".tmp-*"))
    assert ends_soon(grandchild(said))


def grandchild(said: Said) -> int:
    return int(said[0][1].split()[-1])
