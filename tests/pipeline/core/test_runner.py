from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import tiny_line

from pipeline.core import runner
from pipeline.core.freshness import assess_all
from pipeline.core.plan import PLAN, Plan, select
from pipeline.core.runner import Line, run
from pipeline.core.store import Record, Store
from stages.errors import ArtifactError, DataError, MachineError, StageCrashed, packages
from stages.settings import Settings

RAN, CACHED = "ran", "cached"
ENVIRONMENT = {"gpu": {"driver": "550"}}


@dataclass
class Notes:
    """A display that remembers."""

    said: list[str] = field(default_factory=list)
    on_progress: Callable[[str], None] = lambda text: None

    def __enter__(self) -> Notes:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def skip(self, stage: str) -> None:
        self.said.append(f"skip {stage}")

    def start(self, stage: str, reason: str) -> None:
        self.said.append(f"start {stage}: {reason}")

    def progress(self, level: str, text: str, step: tuple[int, int] | None) -> None:
        self.on_progress(text)

    def printed(self, log: Path) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def finish(self, stage: str, seconds: float) -> None:
        self.said.append(f"finish {stage}")

    def warn(self, text: str) -> None:
        self.said.append(f"warn {text}")


class Bench:
    """The tiny line in a folder of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.notes = Notes()

    def run(
        self,
        *stages: str,
        settings: dict[str, Any] | None = None,
        plan: Plan = tiny_line.PLAN,
        environment: dict[str, Any] = ENVIRONMENT,
        force: bool = False,
    ) -> dict[str, str]:
        self.notes.said.clear()
        chosen = Settings.model_validate(settings or {})
        line = Line(plan, chosen, Store(self.root, tiny_line.PLAN), environment, self.notes)
        return dict(run(line, select(plan, stages or ("all",)), force))

    def states(self, settings: dict[str, Any] | None = None) -> dict[str, tuple[str, ...]]:
        chosen = Settings.model_validate(settings or {})
        found = assess_all(tiny_line.PLAN, chosen, Store(self.root, tiny_line.PLAN), ENVIRONMENT)
        return {name: (state.name, *state.reasons) for name, state in found.items()}

    def record(self, stage: str) -> Record:
        record = Store(self.root, tiny_line.PLAN).read(stage)
        assert record
        return record


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which everything has run."""
    root = tmp_path_factory.mktemp("finished")
    Bench(root).run()
    return root


@pytest.fixture
def done(bench: Bench, finished: Path) -> Bench:
    """A bench on which everything has run."""
    shutil.copytree(finished, bench.root, dirs_exist_ok=True)
    return bench


def test_a_first_run_runs_everything_in_order(bench: Bench) -> None:
    assert bench.run() == {"write": RAN, "copy": RAN, "join": RAN}
    joined = (bench.root / "join/joined.txt").read_text()
    assert joined == "epochs 24\nepochs 24\nratio 0.5\n"
    assert bench.notes.said == [
        "start write: missing",
        "finish write",
        "start copy: missing",
        "finish copy",
        "start join: missing",
        "finish join",
    ]


def test_a_second_run_skips_everything(done: Bench) -> None:
    assert done.run() == {"write": CACHED, "copy": CACHED, "join": CACHED}
    assert done.notes.said == ["skip write", "skip copy", "skip join"]


def test_a_record_says_what_made_the_artifact_and_what_is_in_it(done: Bench) -> None:
    write, join = done.record("write"), done.record("join")
    assert write.settings["train"]["epochs"] == 24
    assert sorted(write.files) == ["folder/deep.txt", "text.txt"]
    assert write.files["text.txt"].size_bytes == 10
    assert write.environment == join.environment == ENVIRONMENT
    assert join.inputs["copy"] == {"copy.txt": done.record("copy").files["copy.txt"].sha256}
    assert 0 < join.seconds < 60
    assert join.started_at.endswith("+00:00")
    assert join.measurements.details.model_dump()["pid"] != os.getpid()
    assert len(join.key) == 64


def test_nothing_but_artifacts_logs_and_hashes_is_left_in_the_folder(done: Bench) -> None:
    names = {path.name for path in done.root.iterdir()}
    assert names - {".hashes.json"} == {"write", "copy", "join", ".logs"}


def test_a_changed_setting_runs_its_stage_and_what_stands_on_it(done: Bench) -> None:
    settings = {"prune": {"ratio": 0.25}}
    assert done.states(settings) == {
        "write": ("fresh",),
        "copy": ("stale", "prune.ratio 0.5 -> 0.25"),
        "join": ("stale", "copy is stale"),
    }
    assert done.run(settings=settings) == {"write": CACHED, "copy": RAN, "join": RAN}
    assert done.notes.said[1] == "start copy: stale: prune.ratio 0.5 -> 0.25"
    assert done.notes.said[3] == "start join: stale: copy changed"


def test_a_stage_whose_files_come_out_the_same_leaves_the_others_fresh(done: Bench) -> None:
    settings = {"train": {"batch_size": 8}}
    assert done.run(settings=settings) == {"write": RAN, "copy": CACHED, "join": CACHED}
    assert done.record("write").measurements.details.model_dump()["batch_size"] == 8


def test_another_environment_runs_only_what_is_keyed_by_it(done: Bench) -> None:
    outcomes = done.run(environment={"gpu": {"driver": "560"}})
    assert outcomes == {"write": CACHED, "copy": CACHED, "join": RAN}
    assert 'environment: gpu.driver "550" -> "560"' in done.notes.said[2]


def test_a_raised_revision_runs_the_stage(done: Bench) -> None:
    plan = tuple(replace(stage, revision=2) for stage in tiny_line.PLAN[:1]) + tiny_line.PLAN[1:]
    assert done.run(plan=plan) == {"write": RAN, "copy": CACHED, "join": CACHED}
    assert done.notes.said[0] == "start write: stale: revision 1 -> 2"


def test_force_runs_fresh_stages(done: Bench) -> None:
    assert done.run("copy", force=True) == {"copy": RAN}
    assert done.notes.said == ["start copy: forced", "finish copy"]


@pytest.mark.parametrize("harm", ["truncate", "change", "remove", "record"])
def test_a_damaged_artifact_is_made_anew_with_a_notice(done: Bench, harm: str) -> None:
    file = done.root / "write/text.txt"
    if harm == "truncate":
        os.truncate(file, 3)
    elif harm == "change":
        file.write_text("EPOCHS 24\n")
    elif harm == "remove":
        file.unlink()
    else:
        file = file.with_name("record.json")
        os.truncate(file, 30)
    assert done.states()["write"][0] == "damaged"
    assert done.states()["copy"][0] == "stale"
    assert done.run()["write"] == RAN
    assert done.notes.said[0].startswith(f"warn {file} ")
    assert done.notes.said[0].endswith("write runs again")
    assert (done.root / "write/text.txt").read_text() == "epochs 24\n"
    assert {name for name, *_ in done.states().values()} == {"fresh"}


def test_a_damaged_input_is_refused_with_its_name_and_a_command(done: Bench) -> None:
    file = done.root / "write/text.txt"
    file.write_text("EPOCHS 24\n")
    with pytest.raises(ArtifactError) as caught:
        done.run("copy", force=True)
    assert caught.value.message == f"{file} changed on disk; copy does not read it"
    assert caught.value.hint == "run: pipeline run write"
    assert (done.root / "copy/copy.txt").read_text().startswith("epochs")


def test_an_input_with_a_damaged_record_is_refused(done: Bench) -> None:
    os.truncate(done.root / "write/record.json", 30)
    with pytest.raises(ArtifactError, match=r"write/record\.json is damaged") as caught:
        done.run("copy")
    assert caught.value.hint == "run: pipeline run write"


def test_a_missing_input_is_refused_with_a_command(bench: Bench) -> None:
    with pytest.raises(ArtifactError, match="copy needs the artifact of write") as caught:
        bench.run("copy")
    assert "pipeline run write" in caught.value.hint


def test_a_stale_input_is_used_with_a_warning(done: Bench) -> None:
    settings = {"train": {"epochs": 3}}
    assert done.run("join", settings=settings) == {"join": CACHED}
    assert done.notes.said[0] == (
        "warn write is stale (train.epochs 24 -> 3) and is used anyway; "
        "to renew it: pipeline run all"
    )


def test_a_machine_with_a_part_of_the_line_runs_the_rest_without_warnings(done: Bench) -> None:
    shutil.rmtree(done.root / "write")
    join = replace(tiny_line.PLAN[2], needs=("copy",))
    assert done.run("join", plan=(*tiny_line.PLAN[:2], join)) == {"join": RAN}
    assert not [line for line in done.notes.said if line.startswith("warn")]


def test_a_stage_that_refuses_leaves_what_was_done_before_and_the_old_artifact(
    done: Bench,
) -> None:
    settings = {"train": {"epochs": 3}}
    with pytest.raises(DataError):
        done.run(settings=settings, plan=tiny_line.plan_with_copy("tiny_line.refuses"))
    assert done.states(settings)["write"] == ("fresh",)
    assert done.states(settings)["copy"] == ("stale", "write changed")
    assert (done.root / "copy/copy.txt").read_text() == "epochs 24\nratio 0.5\n"


def test_a_crash_is_the_stages_failure_and_the_next_run_resumes_there(bench: Bench) -> None:
    with pytest.raises(StageCrashed, match="stage copy died: SIGABRT"):
        bench.run(plan=tiny_line.plan_with_copy("tiny_line.aborts"))
    assert not (bench.root / "copy").exists()
    assert bench.run() == {"write": CACHED, "copy": RAN, "join": RAN}


def test_what_a_killed_run_left_is_cleaned_up_by_the_next(done: Bench) -> None:
    (done.root / "copy").rename(done.root / ".old-copy")
    (done.root / ".new-copy-1").mkdir()
    (done.root / ".new-copy-1/copy.txt").write_text("half")
    assert done.run() == {"write": CACHED, "copy": CACHED, "join": CACHED}
    names = {path.name for path in done.root.iterdir()}
    assert names - {".hashes.json"} == {"write", "copy", "join", ".logs"}


DIES_ONCE = tiny_line.plan_with_copy("tiny_line.dies_once")


def test_a_stage_that_was_killed_goes_on_from_what_it_kept_and_then_nothing_is_left(
    bench: Bench,
) -> None:
    with pytest.raises(StageCrashed):
        bench.run("write", "copy", plan=DIES_ONCE)
    (kept,) = (bench.root / ".resume-copy").iterdir()
    assert bench.run("write", "copy", plan=DIES_ONCE) == {"write": CACHED, "copy": RAN}
    assert (bench.root / "copy/copy.txt").read_text() == "ratio 0.5, and the rest"
    assert kept.name == bench.record("copy").key
    assert not (bench.root / ".resume-copy").exists()


def test_what_was_kept_for_other_settings_is_not_gone_on_from(bench: Bench) -> None:
    with pytest.raises(StageCrashed):
        bench.run("write", "copy", plan=DIES_ONCE)
    (kept,) = (bench.root / ".resume-copy").iterdir()
    with pytest.raises(StageCrashed):
        bench.run("copy", plan=DIES_ONCE, settings={"prune": {"ratio": 0.25}})
    assert not kept.exists()


def test_what_a_finished_stage_resumed_from_is_deleted_and_that_of_other_settings_is_not(
    done: Bench,
) -> None:
    record = Store(done.root, tiny_line.PLAN).read("write")
    assert record
    kept, other = (done.root / ".resume-write" / key for key in (record.key, "0" * 64))
    for folder in (kept, other):
        folder.mkdir(parents=True)
    done.run()
    assert not kept.exists()
    assert other.exists()


def test_force_begins_again_from_nothing(bench: Bench) -> None:
    with pytest.raises(StageCrashed):
        bench.run("write", "copy", plan=DIES_ONCE)
    with pytest.raises(StageCrashed):
        bench.run("copy", plan=DIES_ONCE, force=True)


def test_an_interrupt_ends_the_stage_and_leaves_no_half_artifact(done: Bench) -> None:
    pids: list[int] = []

    def interrupt(text: str) -> None:
        if text.startswith("asleep in "):
            pids.append(int(text.split()[-1]))
            raise KeyboardInterrupt

    done.notes.on_progress = interrupt
    with pytest.raises(KeyboardInterrupt):
        done.run("copy", force=True, plan=tiny_line.plan_with_copy("tiny_line.sleeps"))
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)
    assert done.run() == {"write": CACHED, "copy": CACHED, "join": CACHED}


def test_a_record_is_strict_json(done: Bench) -> None:
    def refuse(word: str) -> None:
        raise ValueError(word)

    text = (done.root / "write/record.json").read_text()
    assert json.loads(text, parse_constant=refuse)["measurements"]["details"]["loss"] is None


def test_what_is_missing_is_said_at_once_before_anything_runs(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(packages, "TRAINING", ("numpy", "no-such-package", "nor-this"))
    monkeypatch.setattr(runner, "TRAINING", packages.TRAINING)
    line = Line(PLAN, Settings(), Store(tmp_path), ENVIRONMENT, Notes())
    with pytest.raises(MachineError, match="train: the packages no-such-package, nor-this are"):
        run(line, select(PLAN, ["all"]))
    assert line.begun == []
